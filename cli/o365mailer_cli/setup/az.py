"""The scripts for sh and the Azure CLI. Azure's Cloud Shell has all that they need.

az knows nothing of Exchange, so the Exchange part is PowerShell within the script.
Source, read 2026-11-28: the Azure CLI reference of `az ad` and `az cloud`.
"""

from collections.abc import Iterator
from typing import Final

from o365mailer_cli.setup.plan import EXCHANGE_ONLINE, Credential, Method, Plan
from o365mailer_cli.setup.powershell import (
    ANNOTATE,
    NO_ISSUER,
    OTHER_TRUST,
    annotation,
    checks,
    exchange,
    kubernetes,
    undo_exchange,
)
from o365mailer_cli.setup.quoting import comment, powershell, sh
from o365mailer_operator.exchange.objects import PERMISSION

END: Final = "END_OF_POWERSHELL"


def script(plan: Plan) -> str:
    """The script that sets everything up."""
    lines = [*_head(plan, "Sets up Office 365 for"), *_login(plan), *_application(), *_enterprise()]
    lines += _permission() if plan.method is Method.CLASSIC else ()
    lines += _CREDENTIALS[plan.credential](plan)
    lines += _powershell(plan, [*exchange(plan), *checks(plan)])
    lines += [
        "",
        "echo \"The application's client id is $app. The mailer's spec.clientId must be the same.\"",
        f'echo "{ANNOTATE}: {annotation(plan, "$app")}"'
        if plan.credential is Credential.FEDERATED
        else f"# {kubernetes(plan)}",
    ]
    return "\n".join(lines) + "\n"


def undo_script(plan: Plan) -> str:
    """The script that takes it back."""
    lines = [
        *_head(plan, "Takes back what the setup made for"),
        "# Decide: yes also deletes the application and its credentials. Keep no if another mailer uses it.",
        "delete_application=no",
        *_login(plan),
        *_find(),
        'if [ -z "$app" ]; then echo "Entra has no such application. Is spec.clientId right?" >&2; exit 1; fi',
        "enterprise=$(az ad sp list --filter \"appId eq '$app'\" --query '[0].id' --output tsv)",
        *_powershell(plan, ["$DeleteApplication = $env:DELETE_APPLICATION -eq 'yes'", *undo_exchange(plan)]),
        *_no_credential(plan),
        'if [ "$delete_application" = yes ]; then az ad app delete --id "$app"; fi',
    ]
    return "\n".join(lines) + "\n"


def _head(plan: Plan, what: str) -> Iterator[str]:
    yield "#!/bin/sh"
    yield f"# {what} the O365Mailer {comment(plan.mailer)}: mailbox {comment(plan.mailbox)}, method {plan.method}."
    yield "# Printed by `o365mailer setup`. Read it, then run it, for example in Azure's Cloud Shell. It can run again."
    yield (
        "# You need az, pwsh with the module ExchangeOnlineManagement, the Entra role Cloud Application Administrator"
        + (" and, for the" if plan.method is Method.CLASSIC else ",")
    )
    if plan.method is Method.CLASSIC:
        yield "# consent, Privileged Role Administrator,"
    yield "# and the Exchange role Organization Management."
    if plan.high_volume:
        yield "# The mailer submits to High Volume Email. That needs Add-HVEAppAccess too, which is not in this script."
    yield "set -eu"
    yield ""
    yield f"tenant={sh(plan.tenant)}"
    yield f"client={sh(plan.client_id)}"
    yield f"name={sh(plan.name)}"


def _login(plan: Plan) -> Iterator[str]:
    yield ""
    if plan.cloud != "Global":
        yield f"az cloud set --name {plan.clouds.az}"
    yield 'az login --tenant "$tenant" --allow-no-subscriptions --output none'


def _find() -> Iterator[str]:
    yield "app=$(az ad app list --app-id \"$client\" --query '[0].appId' --output tsv)"
    yield 'if [ -z "$app" ]; then'
    yield "  app=$(az ad app list --filter \"displayName eq '$name'\" --query '[0].appId' --output tsv)"
    yield "fi"


def _application() -> Iterator[str]:
    yield ""
    yield "# --- Entra: the application ---"
    yield from _find()
    yield 'if [ -z "$app" ]; then'
    yield '  app=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)'
    yield "fi"


def _enterprise() -> Iterator[str]:
    yield "# Its enterprise application (service principal). Exchange needs this object id, not the registration's."
    yield "enterprise=$(az ad sp list --filter \"appId eq '$app'\" --query '[0].id' --output tsv)"
    yield 'if [ -z "$enterprise" ]; then enterprise=$(az ad sp create --id "$app" --query id --output tsv); fi'


def _permission() -> Iterator[str]:
    yield ""
    yield f"# The permission {PERMISSION} of Office 365 Exchange Online, with the administrator's consent."
    query = f"\"appRoles[?value=='{PERMISSION}'].id | [0]\""
    yield f"role=$(az ad sp show --id {EXCHANGE_ONLINE} --query {query} --output tsv)"
    yield f'az ad app permission add --id "$app" --api {EXCHANGE_ONLINE} --api-permissions "$role=Role"'
    yield 'az ad app permission admin-consent --id "$app"'


def _client_secret(_plan: Plan) -> Iterator[str]:
    yield ""
    yield "# --- Entra: a client secret. Decide how long it lives. A certificate is safer. ---"
    query = "\"[?displayName=='$name'].keyId | [0]\""
    yield f'found=$(az ad app credential list --id "$app" --query {query} --output tsv)'
    yield 'if [ -z "$found" ]; then'
    yield "  umask 077"
    yield '  secret=$(az ad app credential reset --id "$app" --append --display-name "$name" --years 1 \\'
    yield "    --query password --output tsv)"
    yield "  # The value, which Entra shows only now. The file belongs into the Kubernetes Secret, and then deleted."
    yield '  printf %s "$secret" > client-secret'
    yield "fi"


def _no_credential(plan: Plan) -> Iterator[str]:
    if plan.credential is Credential.FEDERATED:
        yield f'found=$(az ad app federated-credential list --id "$app" --query {_trusted(plan)} --output tsv)'
        yield 'if [ -n "$found" ]; then'
        yield '  az ad app federated-credential delete --id "$app" --federated-credential-id "$found"'
        yield "fi"
        return
    query = "\"[?displayName=='$name'].keyId\""
    cert = " --cert" if plan.credential is Credential.CERTIFICATE else ""
    yield f'for key in $(az ad app credential list --id "$app"{cert} --query {query} --output tsv); do'
    yield f'  az ad app credential delete --id "$app" --key-id "$key"{cert}'
    yield "done"


def _certificate(_plan: Plan) -> Iterator[str]:
    yield ""
    yield "# --- Entra: the certificate. tls.crt is that of the Kubernetes Secret. ---"
    query = "\"[?displayName=='$name'].keyId | [0]\""
    yield f'found=$(az ad app credential list --id "$app" --cert --query {query} --output tsv)'
    yield 'if [ -z "$found" ]; then'
    yield '  az ad app credential reset --id "$app" --append --display-name "$name" --cert @tls.crt --output none'
    yield "else"
    yield "  # az would add it a second time (Azure/azure-cli#32933)."
    yield '  echo "The application has a certificate. If tls.crt is a newer one, add it in Entra." >&2'
    yield "fi"


def _federated(plan: Plan) -> Iterator[str]:
    yield ""
    yield "# --- Entra: a federated credential. It trusts the ServiceAccount, and no secret is stored. ---"
    yield "# The issuer is what kubectl get --raw /.well-known/openid-configuration shows, letter by letter."
    yield f"issuer={sh(plan.issuer)}" if plan.issuer else f'issuer="${{ISSUER:?{NO_ISSUER}}}"'
    yield f"subject={sh(plan.subject)}"
    members = f'"name": "%s", "issuer": "%s", "subject": "%s", "audiences": ["{plan.audience}"]'
    yield f"found=$({_LIST} --query \"[?issuer=='$issuer' && subject=='$subject'].name\" --output tsv)"
    yield f"taken=$({_LIST} --query \"[?name=='{plan.trusted}'].id\" --output tsv)"
    yield f'parameters=$(printf \'{{{members}}}\' "${{found:-{plan.trusted}}}" "$issuer" "$subject")'
    yield 'if [ -n "$found" ]; then'
    yield '  az ad app federated-credential update --id "$app" --federated-credential-id "$found" \\'
    yield '    --parameters "$parameters" --output none'
    yield 'elif [ -n "$taken" ]; then'
    yield f'  echo "{OTHER_TRUST}" >&2'
    yield "  exit 1"
    yield "else"
    yield '  az ad app federated-credential create --id "$app" --parameters "$parameters" --output none'
    yield "fi"


_LIST: Final = 'az ad app federated-credential list --id "$app"'


def _trusted(plan: Plan) -> str:
    """A query for its id, for the undo. Without the issuer, which is unknown with a file, by its name."""
    if plan.issuer:
        return sh(f"[?issuer=='{plan.issuer}' && subject=='{plan.subject}'].id")
    return f"\"[?name=='{plan.trusted}'].id\""


_CREDENTIALS: Final = {
    Credential.SECRET: _client_secret,
    Credential.CERTIFICATE: _certificate,
    Credential.FEDERATED: _federated,
}


def _powershell(plan: Plan, lines: list[str]) -> Iterator[str]:
    """The lines as a file that pwsh runs. The text is quoted (<<'…'), so sh changes nothing in it."""
    yield ""
    yield "folder=$(mktemp -d)"
    yield "trap 'rm -rf \"$folder\"' EXIT"
    yield f"cat > \"$folder/exchange.ps1\" <<'{END}'"
    yield "$ErrorActionPreference = 'Stop'"
    yield "$AppId = $env:APP_ID"
    yield "$EnterpriseId = $env:ENTERPRISE_ID"
    yield f"$Mailbox = {powershell(plan.mailbox)}"
    yield f"$Name = {powershell(plan.name)}"
    yield from lines
    yield END
    undo = ' DELETE_APPLICATION="$delete_application"' if "$DeleteApplication" in lines[0] else ""
    yield f'APP_ID="$app" ENTERPRISE_ID="$enterprise"{undo} pwsh -NoLogo -NoProfile -File "$folder/exchange.ps1"'
