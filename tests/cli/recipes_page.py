"""The recipes of docs/migrate.md, made from the table that `scan` uses.

`python -m cli.recipes_page` in tests/ writes them.
"""

from pathlib import Path

from o365mailer_cli.scan.apps import RECIPES, Recipe

PAGE = Path(__file__).parents[2] / "docs" / "migrate.md"
BEGIN = "<!-- recipes: written by tests/cli/recipes_page.py -->"
END = "<!-- end of recipes -->"
HEAD = "| App | Where | Set | Remove |\n| --- | --- | --- | --- |"


def row(recipe: Recipe) -> str:
    """One line of the table."""
    if recipe.url:
        changes = [f"`{recipe.host}` = `smtp://127.0.0.1:25`"]
    else:
        changes = [f"`{recipe.host}` = `127.0.0.1{':25' if recipe.joined else ''}`"]
    changes += [f"`{recipe.port}` = `25`"] if recipe.port else []
    changes += [f"`{name}` = {f'`{value}`' if value else 'nothing'}" for name, value in recipe.tls.items()]
    removed = "" if recipe.url else f"`{recipe.user}`, `{recipe.password}`"
    return f"| {recipe.app} | {recipe.form} | {', '.join(changes)} | {removed} |"


def table() -> str:
    """The whole table."""
    return "\n".join([HEAD, *map(row, RECIPES)])


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
