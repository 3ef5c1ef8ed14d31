"""The apps that people run, as data: which settings say how they send mail, and what turns their TLS off.

The names are those of the apps' documentation and charts in November 2026; not each was tried with the app itself.
docs/migrate.md shows this table, and a test compares both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ENVIRONMENT: Final = "environment"


@dataclass(frozen=True)
class Recipe:
    """How one app is told where its mail goes, in one of its forms of configuration."""

    app: str
    form: str
    """`environment`, or the name of the file."""
    host: str
    """The setting with the host, as the app spells it. In a file with its section: `smtp.host`."""
    user: str
    password: str
    port: str = ""
    """Empty: the host's setting has the port too (`host:port`), or is a URL."""
    tls: Mapping[str, str] = field(default_factory=dict)
    """The settings that make the app require TLS, each with the value that does not."""
    must_set: bool = False
    """Set `tls` even where the configuration does not name it, because the app's default requires TLS."""
    url: bool = False
    """The host's setting is a URL: smtp://host:port."""
    image: str = ""
    """A part of the image's name, which tells the app where its settings have common names."""

    @property
    def joined(self) -> bool:
        """The host's setting has the port too."""
        return not self.port and not self.url

    def off(self, name: str, path: tuple[str, ...] = ()) -> str | None:
        """What the setting must be so that the app needs neither TLS nor a login; None for all other settings."""
        return next((value for known, value in self.tls.items() if _is(known, name, path)), None)

    def missing(self, present: Sequence[str]) -> Mapping[str, str]:
        """The settings to add, because the app's default requires TLS, by their last name."""
        if not self.must_set:
            return {}
        first = next(iter(self.tls.items()))
        name = first[0].rpartition(".")[2]
        return {} if name.lower() in {one.lower() for one in present} else {name: first[1]}


RECIPES: Final = (
    Recipe("Grafana", ENVIRONMENT, "GF_SMTP_HOST", "GF_SMTP_USER", "GF_SMTP_PASSWORD",
           tls={"GF_SMTP_STARTTLS_POLICY": "NoStartTLS"}, image="grafana"),
    Recipe("Grafana", "grafana.ini", "smtp.host", "smtp.user", "smtp.password",
           tls={"smtp.startTLS_policy": "NoStartTLS"}, image="grafana"),
    Recipe("Alertmanager", "alertmanager.yml", "global.smtp_smarthost", "global.smtp_auth_username",
           "global.smtp_auth_password", tls={"global.smtp_require_tls": "false"}, must_set=True, image="alertmanager"),
    Recipe("Keycloak", "realm.json", "smtpServer.host", "smtpServer.user", "smtpServer.password", "smtpServer.port",
           tls={"smtpServer.starttls": "false", "smtpServer.ssl": "false", "smtpServer.auth": "false"},
           image="keycloak"),
    Recipe("GitLab", "gitlab.rb", "smtp_address", "smtp_user_name", "smtp_password", "smtp_port",
           tls={"smtp_enable_starttls_auto": "false", "smtp_tls": "false"}, image="gitlab"),
    Recipe("GitLab", "smtp_settings.rb", "smtp_settings.address", "smtp_settings.user_name", "smtp_settings.password",
           "smtp_settings.port", tls={"smtp_settings.enable_starttls_auto": "false"}, image="gitlab"),
    Recipe("Gitea, Forgejo", ENVIRONMENT, "GITEA__mailer__SMTP_ADDR", "GITEA__mailer__USER", "GITEA__mailer__PASSWD",
           "GITEA__mailer__SMTP_PORT", tls={"GITEA__mailer__PROTOCOL": "smtp"}, must_set=True, image="gitea"),
    Recipe("Gitea, Forgejo", "app.ini", "mailer.SMTP_ADDR", "mailer.USER", "mailer.PASSWD", "mailer.SMTP_PORT",
           tls={"mailer.PROTOCOL": "smtp"}, must_set=True, image="gitea"),
    Recipe("Nextcloud", ENVIRONMENT, "SMTP_HOST", "SMTP_NAME", "SMTP_PASSWORD", "SMTP_PORT",
           tls={"SMTP_SECURE": ""}, image="nextcloud"),
    Recipe("Nextcloud", "config.php", "mail_smtphost", "mail_smtpname", "mail_smtppassword", "mail_smtpport",
           tls={"mail_smtpsecure": "", "mail_smtpauth": "false"}, image="nextcloud"),
    Recipe("Argo CD notifications", "argocd-notifications-cm", "service.email.host", "service.email.username",
           "service.email.password", "service.email.port", image="argocd"),
    Recipe("Airflow", ENVIRONMENT, "AIRFLOW__SMTP__SMTP_HOST", "AIRFLOW__SMTP__SMTP_USER",
           "AIRFLOW__SMTP__SMTP_PASSWORD", "AIRFLOW__SMTP__SMTP_PORT",
           tls={"AIRFLOW__SMTP__SMTP_STARTTLS": "False", "AIRFLOW__SMTP__SMTP_SSL": "False"}, must_set=True,
           image="airflow"),
    Recipe("Airflow", "airflow.cfg", "smtp.smtp_host", "smtp.smtp_user", "smtp.smtp_password", "smtp.smtp_port",
           tls={"smtp.smtp_starttls": "False", "smtp.smtp_ssl": "False"}, must_set=True, image="airflow"),
    Recipe("Superset", "superset_config.py", "SMTP_HOST", "SMTP_USER", "SMTP_PASSWORD", "SMTP_PORT",
           tls={"SMTP_STARTTLS": "False", "SMTP_SSL": "False"}, must_set=True, image="superset"),
    Recipe("Redmine", "configuration.yml", "smtp_settings.address", "smtp_settings.user_name",
           "smtp_settings.password", "smtp_settings.port", tls={"smtp_settings.enable_starttls_auto": "false"},
           image="redmine"),
    Recipe("Redmine (Bitnami)", ENVIRONMENT, "REDMINE_SMTP_HOST", "REDMINE_SMTP_USER", "REDMINE_SMTP_PASSWORD",
           "REDMINE_SMTP_PORT_NUMBER", tls={"REDMINE_SMTP_PROTOCOL": ""}, image="redmine"),
    Recipe("Django", ENVIRONMENT, "EMAIL_HOST", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD", "EMAIL_PORT",
           tls={"EMAIL_USE_TLS": "False", "EMAIL_USE_SSL": "False"}),
    Recipe("Django (django-environ)", ENVIRONMENT, "EMAIL_URL", "in the URL", "in the URL", url=True),
    Recipe("WordPress (Bitnami)", ENVIRONMENT, "WORDPRESS_SMTP_HOST", "WORDPRESS_SMTP_USER",
           "WORDPRESS_SMTP_PASSWORD", "WORDPRESS_SMTP_PORT_NUMBER", tls={"WORDPRESS_SMTP_PROTOCOL": ""},
           image="wordpress"),
    Recipe("WordPress (WP Mail SMTP)", "wp-config.php", "WPMS_SMTP_HOST", "WPMS_SMTP_USER", "WPMS_SMTP_PASS",
           "WPMS_SMTP_PORT", tls={"WPMS_SSL": "", "WPMS_SMTP_AUTOTLS": "false", "WPMS_SMTP_AUTH": "false"},
           image="wordpress"),
    Recipe("Jenkins", "jenkins.yaml", "mailer.smtpHost", "mailer.authentication.username",
           "mailer.authentication.password", "mailer.smtpPort",
           tls={"mailer.useTls": "false", "mailer.useSsl": "false"}, image="jenkins"),
    Recipe("Sentry", ENVIRONMENT, "SENTRY_EMAIL_HOST", "SENTRY_EMAIL_USERNAME", "SENTRY_EMAIL_PASSWORD",
           "SENTRY_EMAIL_PORT", tls={"SENTRY_EMAIL_USE_TLS": "false", "SENTRY_EMAIL_USE_SSL": "false"}, image="sentry"),
    Recipe("Sentry", "config.yml", "mail.host", "mail.username", "mail.password", "mail.port",
           tls={"mail.use-tls": "false", "mail.use-ssl": "false"}, image="sentry"),
    Recipe("Mattermost", ENVIRONMENT, "MM_EMAILSETTINGS_SMTPSERVER", "MM_EMAILSETTINGS_SMTPUSERNAME",
           "MM_EMAILSETTINGS_SMTPPASSWORD", "MM_EMAILSETTINGS_SMTPPORT",
           tls={"MM_EMAILSETTINGS_CONNECTIONSECURITY": "", "MM_EMAILSETTINGS_ENABLESMTPAUTH": "false"},
           image="mattermost"),
    Recipe("Spring Boot", ENVIRONMENT, "SPRING_MAIL_HOST", "SPRING_MAIL_USERNAME", "SPRING_MAIL_PASSWORD",
           "SPRING_MAIL_PORT", tls={"SPRING_MAIL_PROPERTIES_MAIL_SMTP_STARTTLS_REQUIRED": "false",
                                    "SPRING_MAIL_PROPERTIES_MAIL_SMTP_AUTH": "false"}),
    Recipe("Spring Boot", "application.properties", "spring.mail.host", "spring.mail.username",
           "spring.mail.password", "spring.mail.port",
           tls={"spring.mail.properties.mail.smtp.starttls.required": "false",
                "spring.mail.properties.mail.smtp.auth": "false"}),
    Recipe("Laravel", ENVIRONMENT, "MAIL_HOST", "MAIL_USERNAME", "MAIL_PASSWORD", "MAIL_PORT",
           tls={"MAIL_ENCRYPTION": "null", "MAIL_SCHEME": "null"}),
    Recipe("Symfony", ENVIRONMENT, "MAILER_DSN", "in the URL", "in the URL", url=True),
    Recipe("Authentik", ENVIRONMENT, "AUTHENTIK_EMAIL__HOST", "AUTHENTIK_EMAIL__USERNAME",
           "AUTHENTIK_EMAIL__PASSWORD", "AUTHENTIK_EMAIL__PORT",
           tls={"AUTHENTIK_EMAIL__USE_TLS": "false", "AUTHENTIK_EMAIL__USE_SSL": "false"}, image="authentik"),
    Recipe("n8n", ENVIRONMENT, "N8N_SMTP_HOST", "N8N_SMTP_USER", "N8N_SMTP_PASS", "N8N_SMTP_PORT",
           tls={"N8N_SMTP_SSL": "false", "N8N_SMTP_STARTTLS": "false"}, image="n8n"),
    Recipe("Vaultwarden", ENVIRONMENT, "SMTP_HOST", "SMTP_USERNAME", "SMTP_PASSWORD", "SMTP_PORT",
           tls={"SMTP_SECURITY": "off"}, must_set=True, image="vaultwarden"),
    Recipe("Postfix (boky/postfix)", ENVIRONMENT, "RELAYHOST", "RELAYHOST_USERNAME", "RELAYHOST_PASSWORD",
           tls={"POSTFIX_smtp_tls_security_level": "none"}, must_set=True, image="postfix"),
)  # fmt: skip


def recipe_for(name: str, path: tuple[str, ...] = (), *, image: str = "", file: str = "") -> Recipe | None:
    """The recipe whose host is the setting `name`, in a file below `path`. None if the table has none.

    Of several with the same name, the one of the container's image, then the one of the file, comes first. A name that
    many apps use (SMTP_HOST) is a recipe's only in its own image or file.
    """
    environment = not file
    candidates = [
        recipe
        for recipe in RECIPES
        if (recipe.form == ENVIRONMENT) == environment
        and _is(recipe.host, name, path)
        and _meant(recipe, path, image, file)
    ]
    return max(
        candidates, key=lambda one: 2 * bool(one.image and one.image in image) + (one.form == file), default=None
    )


def _meant(recipe: Recipe, path: tuple[str, ...], image: str, file: str) -> bool:
    named = {part.lower() for part in path}
    own = bool(recipe.image and (recipe.image in image or recipe.image in named)) or recipe.form in {file, *path}
    return own or recipe.host not in _COMMON


def _is(known: str, name: str, path: tuple[str, ...]) -> bool:
    parts = known.lower().split(".")
    actual = ".".join([*(part for part in path if not part.startswith("#")), name]).lower().split(".")
    return actual[-len(parts) :] == parts or (
        len(parts) > 1 and parts[-1] == name.lower() and set(parts[:-1]) <= set(actual)
    )


_COMMON: Final = frozenset({"SMTP_HOST", "smtp.host", "smtp_settings.address", "mail.host", "smtp.smtp_host"})
"""Names that more than one app uses."""
