"""The scripts in PowerShell: Microsoft Graph for Entra, and Exchange Online. Each can run again: what exists is kept.

Sources, read 2026-11-28: Microsoft, "SMTP app RBAC onboarding", "Authenticate an IMAP, POP or SMTP connection using
OAuth", and the reference pages of the cmdlets.
"""

from collections.abc import Iterator
from typing import Final

from o365mailer_cli.setup.plan import EXCHANGE_ONLINE, Credential, Method, Plan
from o365mailer_cli.setup.quoting import comment, filter_text, powershell
from o365mailer_contract import names
from o365mailer_operator.exchange.objects import PERMISSION, ROLE

ANNOTATE: Final = "In the cluster, the people who run the apps allow it with"
NO_ISSUER: Final = (
    "Set the environment variable ISSUER to the issuer of the cluster. The people who run the cluster see it with: "
    "kubectl get --raw /.well-known/openid-configuration"
)
OTHER_TRUST: Final = (
    "The application trusts another issuer or ServiceAccount under this name, perhaps of another cluster. "
    "If it is wrong, delete that federated credential in Entra. If it is right, add yours by hand, under another name. "
    "Then run this again."
)

SCOPES: Final = {
    Method.RBAC: ("Application.ReadWrite.All",),
    Method.CLASSIC: ("Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"),
}


def script(plan: Plan) -> str:
    """The script that sets everything up."""
    return _joined(_head(plan, "Sets up Office 365 for"), _values(plan), _entra(plan), exchange(plan), _rest(plan))


def undo_script(plan: Plan) -> str:
    """The script that takes it back."""
    return _joined(_head(plan, "Takes back what the setup made for"), _values(plan), _undo(plan))


def _joined(*parts: Iterator[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(plan: Plan, what: str) -> Iterator[str]:
    yield f"# {what} the O365Mailer {comment(plan.mailer)}: mailbox {comment(plan.mailbox)}, method {plan.method}."
    yield "# Printed by `o365mailer setup`. Read it, then run it in PowerShell 7. It can run again."
    yield "# You need the Entra role Cloud Application Administrator" + (
        " and, for the consent, Privileged Role Administrator," if plan.method is Method.CLASSIC else ","
    )
    yield "# the Exchange role Organization Management, and these modules, which Install-Module installs:"
    yield "#Requires -Version 7.0"
    yield "#Requires -Modules Microsoft.Graph.Authentication, Microsoft.Graph.Applications, ExchangeOnlineManagement"
    if plan.high_volume:
        yield "# The mailer submits to High Volume Email. That needs Add-HVEAppAccess too, which is not in this script."
    yield "$ErrorActionPreference = 'Stop'"


def _values(plan: Plan) -> Iterator[str]:
    yield ""
    yield "# --- From the mailer ---"
    yield f"$TenantId = {powershell(plan.tenant)}"
    yield f"$ClientId = {powershell(plan.client_id)}"
    yield f"$Mailbox = {powershell(plan.mailbox)}"
    yield f"$Name = {powershell(plan.name)}"


def _entra(plan: Plan) -> Iterator[str]:
    scopes = ", ".join(powershell(scope) for scope in SCOPES[plan.method])
    yield ""
    yield "# --- Entra: the application ---"
    yield f"Connect-MgGraph -TenantId $TenantId -Environment {plan.clouds.graph} -Scopes {scopes} -NoWelcome"
    yield "$Application = Get-MgApplication -Filter \"appId eq '$ClientId'\""
    yield from _by_name()
    yield "if ($null -eq $Application) {"
    yield "    $Application = New-MgApplication -DisplayName $Name -SignInAudience AzureADMyOrg"
    yield "}"
    yield "$AppId = $Application.AppId"
    yield "# Its enterprise application (service principal). Exchange needs this object id, not the registration's."
    yield "$Enterprise = Get-MgServicePrincipal -Filter \"appId eq '$AppId'\""
    yield "if ($null -eq $Enterprise) { $Enterprise = New-MgServicePrincipal -AppId $AppId }"
    yield "$EnterpriseId = $Enterprise.Id"
    yield from _permission() if plan.method is Method.CLASSIC else _no_permission()
    yield from _CREDENTIALS[plan.credential](plan)


def _by_name() -> Iterator[str]:
    yield "if ($null -eq $Application) {"
    yield "    $Application = Get-MgApplication -Filter \"displayName eq '$Name'\" | Select-Object -First 1"
    yield "}"


def _no_permission() -> Iterator[str]:
    yield "if (Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $EnterpriseId) {"
    yield "    Write-Warning 'The application has Entra permissions. Rights add up: remove those for mail.'"
    yield "}"


def _permission() -> Iterator[str]:
    yield ""
    yield f"# The permission {PERMISSION} of Office 365 Exchange Online, with the administrator's consent."
    yield f"$Exchange = Get-MgServicePrincipal -Filter \"appId eq '{EXCHANGE_ONLINE}'\""
    yield f"$Role = $Exchange.AppRoles | Where-Object {{ $_.Value -eq '{PERMISSION}' }}"
    yield "$Granted = Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $EnterpriseId |"
    yield "    Where-Object { $_.AppRoleId -eq $Role.Id }"
    yield "if ($null -eq $Granted) {"
    yield "    New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $EnterpriseId -PrincipalId $EnterpriseId `"
    yield "        -ResourceId $Exchange.Id -AppRoleId $Role.Id | Out-Null"
    yield "}"


def _client_secret(_plan: Plan) -> Iterator[str]:
    yield ""
    yield "# --- Entra: a client secret. Decide how long it lives. A certificate is safer. ---"
    yield "$Expires = (Get-Date).AddMonths(6)"
    yield "$Valid = $Application.PasswordCredentials |"
    yield "    Where-Object { $_.DisplayName -eq $Name -and $_.EndDateTime -gt (Get-Date) }"
    yield "if ($null -eq $Valid) {"
    yield "    $Secret = Add-MgApplicationPassword -ApplicationId $Application.Id `"
    yield "        -PasswordCredential @{ DisplayName = $Name; EndDateTime = $Expires }"
    yield "    # The value, which Entra shows only now. The file belongs into the Kubernetes Secret, and then deleted."
    yield "    Set-Content -Path client-secret -Value $Secret.SecretText -NoNewline"
    yield "}"


def _certificate(_plan: Plan) -> Iterator[str]:
    yield ""
    yield "# --- Entra: the certificate. tls.crt is that of the Kubernetes Secret. ---"
    yield "$Path = (Resolve-Path -Path tls.crt).Path"
    yield "$Certificate = [System.Security.Cryptography.X509Certificates.X509Certificate2]::new($Path)"
    yield "if ($Application.KeyCredentials.Count -eq 0) {"
    yield "    $Key = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; Key = $Certificate.RawData }"
    yield "    Update-MgApplication -ApplicationId $Application.Id -KeyCredentials @($Key)"
    yield "} else {"
    yield "    # An update would replace the certificates that are there."
    yield "    Write-Warning 'The application has a certificate. Add tls.crt under Certificates & secrets in Entra.'"
    yield "}"


def _federated(plan: Plan) -> Iterator[str]:
    yield ""
    yield "# --- Entra: a federated credential. It trusts the ServiceAccount, and no secret is stored. ---"
    yield "# The issuer is what kubectl get --raw /.well-known/openid-configuration shows, letter by letter."
    if plan.issuer:
        yield f"$Issuer = {powershell(plan.issuer)}"
    else:
        yield "$Issuer = $env:ISSUER"
        yield f"if (-not $Issuer) {{ throw '{NO_ISSUER}' }}"
    yield f"$Subject = {powershell(plan.subject)}"
    yield "$All = @(Get-MgApplicationFederatedIdentityCredential -ApplicationId $Application.Id)"
    yield "$Trusted = $All | Where-Object { $_.Issuer -ceq $Issuer -and $_.Subject -ceq $Subject }"
    yield "if ($null -ne $Trusted) {"
    yield "    Update-MgApplicationFederatedIdentityCredential -ApplicationId $Application.Id `"
    yield "        -FederatedIdentityCredentialId $Trusted.Id -Issuer $Issuer -Subject $Subject `"
    yield f"        -Audiences @({powershell(plan.audience)})"
    yield f"}} elseif ($All | Where-Object {{ $_.Name -eq {powershell(plan.trusted)} }}) {{"
    yield f"    throw '{OTHER_TRUST}'"
    yield "} else {"
    yield "    New-MgApplicationFederatedIdentityCredential -ApplicationId $Application.Id `"
    yield f"        -Name {powershell(plan.trusted)} -Issuer $Issuer -Subject $Subject `"
    yield f"        -Audiences @({powershell(plan.audience)}) | Out-Null"
    yield "}"


def _trusted(plan: Plan) -> Iterator[str]:
    """Finds it for the undo. Without the issuer, which is unknown with a file, by its name."""
    ours = f"$_.Name -eq {powershell(plan.trusted)}"
    if plan.issuer:
        ours = f"$_.Issuer -ceq {powershell(plan.issuer)} -and $_.Subject -ceq {powershell(plan.subject)}"
    yield "$Trusted = Get-MgApplicationFederatedIdentityCredential -ApplicationId $Application.Id |"
    yield f"    Where-Object {{ {ours} }}"


_CREDENTIALS: Final = {
    Credential.SECRET: _client_secret,
    Credential.CERTIFICATE: _certificate,
    Credential.FEDERATED: _federated,
}


def exchange(plan: Plan) -> Iterator[str]:
    """The Exchange part. It uses $AppId, $EnterpriseId, $Mailbox and $Name."""
    yield ""
    yield "# --- Exchange Online: the right to send as this mailbox ---"
    yield f"Connect-ExchangeOnline -ExchangeEnvironmentName {plan.clouds.exchange} -ShowBanner:$false"
    yield "$Known = Get-ServicePrincipal -Identity $AppId -ErrorAction SilentlyContinue"
    yield "if ($null -eq $Known) {"
    yield "    New-ServicePrincipal -AppId $AppId -ObjectId $EnterpriseId -DisplayName $Name"
    yield "} elseif ($Known.ObjectId -ne $EnterpriseId) {"
    yield "    # With the registration's object ID, for example, Exchange refuses each login (535 5.7.3)."
    yield "    throw 'Exchange has a wrong object ID of the application. Remove-ServicePrincipal, then run this again.'"
    yield "}"
    yield from _scoped_role(plan) if plan.method is Method.RBAC else _full_access()
    yield ""
    yield "# SMTP AUTH for this mailbox. It may stay off for the tenant: the mailbox's setting counts."
    yield "Set-CASMailbox -Identity $Mailbox -SmtpClientAuthenticationDisabled $false"
    if plan.other_senders:
        yield ""
        yield "# Decide: the mailer allows other senders. For each of their mailboxes, also run"
        yield "# Add-RecipientPermission -Identity ADDRESS -Trustee $EnterpriseId -AccessRights SendAs"


def _scoped_role(plan: Plan) -> Iterator[str]:
    rule = f"PrimarySmtpAddress -eq {filter_text(plan.mailbox)}"
    if plan.cloud != "Global":
        yield "# Microsoft announced this role for the worldwide cloud. If it is unknown here, use --method classic."
    yield f"$Filter = {powershell(rule)}"
    yield "if ($null -eq (Get-ManagementScope -Identity $Name -ErrorAction SilentlyContinue)) {"
    yield "    New-ManagementScope -Name $Name -RecipientRestrictionFilter $Filter"
    yield "} else {"
    yield "    Set-ManagementScope -Identity $Name -RecipientRestrictionFilter $Filter"
    yield "}"
    yield "if ($null -eq (Get-ManagementRoleAssignment -Identity $Name -ErrorAction SilentlyContinue)) {"
    yield f"    New-ManagementRoleAssignment -Name $Name -Role '{ROLE}' -App $AppId `"
    yield "        -CustomResourceScope $Name"
    yield "}"


def _full_access() -> Iterator[str]:
    yield "# Full access lets the application read the mailbox too. --method rbac does not."
    yield "Add-MailboxPermission -Identity $Mailbox -User $EnterpriseId -AccessRights FullAccess -AutoMapping $false"


def _rest(plan: Plan) -> Iterator[str]:
    yield from checks(plan)
    yield ""
    yield "# --- Kubernetes ---"
    yield "Write-Output \"The application's client id is $AppId. The mailer's spec.clientId must be the same.\""
    if plan.credential is Credential.FEDERATED:
        yield f'Write-Output "{ANNOTATE}: {annotation(plan, "$AppId")}"'
    else:
        yield f"# {kubernetes(plan)}"


def checks(plan: Plan) -> Iterator[str]:
    """The commands that show what Exchange knows now."""
    yield ""
    yield "# --- Check. The rights take effect after 30 minutes to 2 hours; send nothing until then. ---"
    if plan.method is Method.RBAC:
        yield "Test-ServicePrincipalAuthorization -Identity $AppId -Resource $Mailbox |"
        yield "    Format-Table -Property 'RoleName', 'AllowedResourceScope', 'InScope'"
    else:
        yield "Get-MailboxPermission -Identity $Mailbox -User $EnterpriseId |"
        yield "    Format-Table -Property 'User', 'AccessRights'"
    yield "Get-CASMailbox -Identity $Mailbox | Format-Table -Property 'SmtpClientAuthenticationDisabled'"


def annotation(plan: Plan, application: str) -> str:
    """The command by which the ServiceAccount allows an application; `application` is its client id in the script."""
    annotated = f"{names.WORKLOAD_IDENTITY_ANNOTATION}={application}"
    return f"kubectl -n {plan.namespace} annotate --overwrite serviceaccount {plan.secret} {annotated}"


def kubernetes(plan: Plan) -> str:
    """The command that gives a secret or a certificate to the mailer."""
    kubectl = f"kubectl -n {plan.namespace}" if plan.namespace else "kubectl"
    if plan.credential is Credential.CERTIFICATE:
        return f"{kubectl} create secret tls {plan.secret} --cert=tls.crt --key=tls.key"
    return f"{kubectl} create secret generic {plan.secret} --from-file={plan.key}=client-secret"


def _undo(plan: Plan) -> Iterator[str]:
    scopes = ", ".join(powershell(scope) for scope in SCOPES[plan.method])
    yield "# Decide: $true also deletes the application and its credentials. Keep $false if another mailer uses it."
    yield "$DeleteApplication = $false"
    yield ""
    yield f"Connect-MgGraph -TenantId $TenantId -Environment {plan.clouds.graph} -Scopes {scopes} -NoWelcome"
    yield "$Application = Get-MgApplication -Filter \"appId eq '$ClientId'\""
    yield from _by_name()
    yield "if ($null -eq $Application) { throw 'Entra has no such application. Is spec.clientId right?' }"
    yield "$AppId = $Application.AppId"
    yield "$Enterprise = Get-MgServicePrincipal -Filter \"appId eq '$AppId'\""
    yield "$EnterpriseId = $Enterprise.Id"
    yield from undo_exchange(plan)
    if plan.method is Method.CLASSIC:
        yield ""
        yield f"# The permission {PERMISSION}. It is the application's, not this mailbox's."
        yield "if ($DeleteApplication) {"
        yield f"    $Exchange = Get-MgServicePrincipal -Filter \"appId eq '{EXCHANGE_ONLINE}'\""
        yield "    Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $EnterpriseId |"
        yield "        Where-Object { $_.ResourceId -eq $Exchange.Id } |"
        yield "        ForEach-Object {"
        yield "            Remove-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $EnterpriseId `"
        yield "                -AppRoleAssignmentId $_.Id"
        yield "        }"
        yield "}"
    if plan.credential is Credential.FEDERATED:
        yield from _trusted(plan)
        yield "if ($null -ne $Trusted) {"
        yield "    Remove-MgApplicationFederatedIdentityCredential -ApplicationId $Application.Id `"
        yield "        -FederatedIdentityCredentialId $Trusted.Id"
        yield "}"
    if plan.credential is Credential.SECRET:
        yield "foreach ($Old in $Application.PasswordCredentials) {"
        yield "    if ($Old.DisplayName -eq $Name) {"
        yield "        Remove-MgApplicationPassword -ApplicationId $Application.Id -KeyId $Old.KeyId"
        yield "    }"
        yield "}"
    yield "if ($DeleteApplication) { Remove-MgApplication -ApplicationId $Application.Id }"


def undo_exchange(plan: Plan) -> Iterator[str]:
    """The Exchange part of the undo. It uses $AppId, $EnterpriseId, $Mailbox, $Name and $DeleteApplication."""
    yield ""
    yield f"Connect-ExchangeOnline -ExchangeEnvironmentName {plan.clouds.exchange} -ShowBanner:$false"
    if plan.method is Method.RBAC:
        yield "if (Get-ManagementRoleAssignment -Identity $Name -ErrorAction SilentlyContinue) {"
        yield "    Remove-ManagementRoleAssignment -Identity $Name -Confirm:$false"
        yield "}"
        yield "if (Get-ManagementScope -Identity $Name -ErrorAction SilentlyContinue) {"
        yield "    Remove-ManagementScope -Identity $Name -Confirm:$false"
        yield "}"
    else:
        yield "Remove-MailboxPermission -Identity $Mailbox -User $EnterpriseId -AccessRights FullAccess -Confirm:$false"
    yield "# Decide: SMTP AUTH of the mailbox. This line sets it back to the tenant's setting."
    yield "# Set-CASMailbox -Identity $Mailbox -SmtpClientAuthenticationDisabled $null"
    yield "if ($DeleteApplication) { Remove-ServicePrincipal -Identity $AppId -Confirm:$false }"
