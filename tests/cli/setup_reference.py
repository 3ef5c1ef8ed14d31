"""What Microsoft's tools accept, as far as the scripts of `setup` use them, and a reader of scripts that checks it.

The cmdlets' parameters and types are those of Microsoft's reference pages (Microsoft Graph PowerShell, Exchange
PowerShell, PowerShell 7), the commands and flags of az those of the Azure CLI reference, read 2026-11-28.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter
import tree_sitter_bash
import tree_sitter_powershell

TEXT, BOOLEAN, SWITCH, TABLE, LIST = "text", "boolean", "switch", "table", "list"
CLOUDS = {"Global", "USGov", "USGovDoD", "China"}
EXCHANGE_CLOUDS = {"O365Default", "O365USGovGCCHigh", "O365USGovDoD", "O365China"}
AUDIENCES = {"AzureADMyOrg", "AzureADMultipleOrgs"}

CMDLETS: dict[str, dict[str, str | set[str]]] = {
    "Connect-MgGraph": {"TenantId": TEXT, "Environment": CLOUDS, "Scopes": LIST, "NoWelcome": SWITCH},
    "Get-MgApplication": {"Filter": TEXT},
    "New-MgApplication": {"DisplayName": TEXT, "SignInAudience": AUDIENCES},
    "Update-MgApplication": {"ApplicationId": TEXT, "KeyCredentials": LIST},
    "Remove-MgApplication": {"ApplicationId": TEXT},
    "Add-MgApplicationPassword": {"ApplicationId": TEXT, "PasswordCredential": TABLE},
    "Remove-MgApplicationPassword": {"ApplicationId": TEXT, "KeyId": TEXT},
    "Get-MgApplicationFederatedIdentityCredential": {"ApplicationId": TEXT},
    "New-MgApplicationFederatedIdentityCredential": {
        "ApplicationId": TEXT,
        "Name": TEXT,
        "Issuer": TEXT,
        "Subject": TEXT,
        "Audiences": LIST,
    },
    "Update-MgApplicationFederatedIdentityCredential": {
        "ApplicationId": TEXT,
        "FederatedIdentityCredentialId": TEXT,
        "Issuer": TEXT,
        "Subject": TEXT,
        "Audiences": LIST,
    },
    "Remove-MgApplicationFederatedIdentityCredential": {"ApplicationId": TEXT, "FederatedIdentityCredentialId": TEXT},
    "Get-MgServicePrincipal": {"Filter": TEXT},
    "New-MgServicePrincipal": {"AppId": TEXT},
    "Get-MgServicePrincipalAppRoleAssignment": {"ServicePrincipalId": TEXT},
    "New-MgServicePrincipalAppRoleAssignment": {
        "ServicePrincipalId": TEXT,
        "PrincipalId": TEXT,
        "ResourceId": TEXT,
        "AppRoleId": TEXT,
    },
    "Remove-MgServicePrincipalAppRoleAssignment": {"ServicePrincipalId": TEXT, "AppRoleAssignmentId": TEXT},
    "Connect-ExchangeOnline": {"ExchangeEnvironmentName": EXCHANGE_CLOUDS, "ShowBanner": SWITCH},
    "Get-ServicePrincipal": {"Identity": TEXT},
    "New-ServicePrincipal": {"AppId": TEXT, "ObjectId": TEXT, "DisplayName": TEXT},
    "Remove-ServicePrincipal": {"Identity": TEXT, "Confirm": SWITCH},
    "Get-ManagementScope": {"Identity": TEXT},
    "New-ManagementScope": {"Name": TEXT, "RecipientRestrictionFilter": TEXT},
    "Set-ManagementScope": {"Identity": TEXT, "RecipientRestrictionFilter": TEXT},
    "Remove-ManagementScope": {"Identity": TEXT, "Confirm": SWITCH},
    "Get-ManagementRoleAssignment": {"Identity": TEXT},
    "New-ManagementRoleAssignment": {"Name": TEXT, "Role": TEXT, "App": TEXT, "CustomResourceScope": TEXT},
    "Remove-ManagementRoleAssignment": {"Identity": TEXT, "Confirm": SWITCH},
    "Get-MailboxPermission": {"Identity": TEXT, "User": TEXT},
    "Add-MailboxPermission": {"Identity": TEXT, "User": TEXT, "AccessRights": {"FullAccess"}, "AutoMapping": BOOLEAN},
    "Remove-MailboxPermission": {"Identity": TEXT, "User": TEXT, "AccessRights": {"FullAccess"}, "Confirm": SWITCH},
    "Get-CASMailbox": {"Identity": TEXT},
    "Set-CASMailbox": {"Identity": TEXT, "SmtpClientAuthenticationDisabled": BOOLEAN},
    "Test-ServicePrincipalAuthorization": {"Identity": TEXT, "Resource": TEXT},
    "Where-Object": {},
    "ForEach-Object": {},
    "Select-Object": {"First": TEXT},
    "Format-Table": {"Property": LIST},
    "Out-Null": {},
    "Get-Date": {},
    "Resolve-Path": {"Path": TEXT},
    "Set-Content": {"Path": TEXT, "Value": TEXT, "NoNewline": SWITCH},
    "Write-Output": {},
    "Write-Warning": {},
}
COMMON = {"ErrorAction": {"SilentlyContinue"}}
"""about_CommonParameters."""
POSITIONAL = {"Where-Object": 1, "ForEach-Object": 1, "Write-Output": 1, "Write-Warning": 1}
"""Cmdlets whose first argument the scripts give without its name (FilterScript, Process, InputObject, Message)."""

OUTPUT = {"query", "output"}
AZ: dict[str, set[str]] = {
    "cloud set": {"name"},
    "login": {"tenant", "allow-no-subscriptions"},
    "ad app list": {"app-id", "filter"},
    "ad app create": {"display-name", "sign-in-audience"},
    "ad app delete": {"id"},
    "ad app credential list": {"id", "cert"},
    "ad app credential reset": {"id", "append", "display-name", "years", "cert"},
    "ad app credential delete": {"id", "key-id", "cert"},
    "ad app federated-credential list": {"id"},
    "ad app federated-credential create": {"id", "parameters"},
    "ad app federated-credential update": {"id", "federated-credential-id", "parameters"},
    "ad app federated-credential delete": {"id", "federated-credential-id"},
    "ad app permission add": {"id", "api", "api-permissions"},
    "ad app permission admin-consent": {"id"},
    "ad sp list": {"filter"},
    "ad sp create": {"id"},
    "ad sp show": {"id"},
}
AZ_SWITCHES = {"allow-no-subscriptions", "append"}

POWERSHELL = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
BASH = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


@dataclass(frozen=True)
class Command:
    """One command of a script, with its arguments as they stand."""

    name: str
    arguments: tuple[str, ...]


def syntax_errors(parser: tree_sitter.Parser, script: str) -> list[str]:
    """Where the grammar does not accept the script: line and text."""
    return [
        f"line {node.start_point[0] + 1}: {text_of(node)[:60]!r}"
        for node in nodes(parser.parse(script.encode()).root_node)
        if node.is_error or node.is_missing
    ]


def nodes(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """The node and everything below it, in the order of the text."""
    yield node
    for child in node.children:
        yield from nodes(child)


def shape(parser: tree_sitter.Parser, script: str) -> list[str]:
    """The types of all nodes: what the script does, without the contents of its literals."""
    return [node.type for node in nodes(parser.parse(script.encode()).root_node)]


def text_of(node: tree_sitter.Node) -> str:
    """As it stands in the script."""
    return (node.text or b"").decode()


def powershell_problems(script: str) -> list[str]:
    """What Microsoft's pages do not know in a PowerShell script: cmdlets, parameters, values of the wrong kind."""
    problems = [f"syntax: {one}" for one in syntax_errors(POWERSHELL, script)]
    for node in nodes(POWERSHELL.parse(script.encode()).root_node):
        if node.type == "command":
            problems += _command_problems(node)
    return problems


def _command_problems(node: tree_sitter.Node) -> Iterator[str]:
    name = text_of(node.children[0])
    if name not in CMDLETS:
        yield f"{name}: no such cmdlet"
        return
    known = CMDLETS[name] | COMMON
    elements = next((one for one in node.children if one.type == "command_elements"), None)
    arguments = [one for one in (elements.children if elements else ()) if one.type != "command_argument_sep"]
    positional, at = 0, 0
    while at < len(arguments):
        if arguments[at].type != "command_parameter":
            positional += 1
            at += 1
            continue
        parameter = text_of(arguments[at])[1:]
        value = arguments[at + 1] if at + 1 < len(arguments) else None
        if value is not None and value.type == "command_parameter":
            value = None
        if parameter not in known:
            yield f"{name}: no parameter {parameter}"
        elif not _fits(known[parameter], value):
            yield f"{name} -{parameter}: {text_of(value) if value else 'nothing'} is no {known[parameter]}"
        at += 1 if value is None else 2
    if positional > POSITIONAL.get(name, 0):
        yield f"{name}: {positional} arguments without a name"


def _fits(kind: str | set[str], value: tree_sitter.Node | None) -> bool:
    text = text_of(value) if value is not None else ""
    if isinstance(kind, set):
        return text in kind
    if kind == SWITCH:
        return text in {"", "$true", "$false"}
    if kind == BOOLEAN:
        return text in {"$true", "$false", "$null"}
    if kind == TABLE:
        return text.startswith("@{")
    return bool(text) and not text.startswith(("{", "@{"))


def az_problems(script: str) -> list[str]:
    """What the reference of az does not know in a script of sh, and other programs than those that Cloud Shell has."""
    problems = [f"syntax: {one}" for one in syntax_errors(BASH, script)]
    for command in sh_commands(script):
        if command.name == "az":
            problems += _az_problems(command.arguments)
        elif command.name not in {"set", "[", "echo", "mktemp", "trap", "cat", "pwsh", "printf", "umask", "exit"}:
            problems.append(f"{command.name}: no such program")
    return problems


def sh_commands(script: str) -> list[Command]:
    """The simple commands of a script of sh, those in $( ) too."""
    found = []
    for node in nodes(BASH.parse(script.encode()).root_node):
        if node.type == "command":
            parts = [one for one in node.children if one.type != "variable_assignment"]
            words = [text_of(one) for one in parts]
            found.append(Command(words[0], tuple(words[1:])))
    return found


def _az_problems(arguments: tuple[str, ...]) -> Iterator[str]:
    verbs = []
    for word in arguments:
        if word.startswith("-"):
            break
        verbs.append(word)
    command = " ".join(verbs)
    if command not in AZ:
        yield f"az {command}: no such command"
        return
    at = len(verbs)
    while at < len(arguments):
        flag = arguments[at]
        if not flag.startswith("--") or flag[2:] not in AZ[command] | OUTPUT:
            yield f"az {command}: no flag {flag}"
        takes_value = flag[2:] not in AZ_SWITCHES and (flag != "--cert" or command.endswith("reset"))
        if takes_value and (at + 1 >= len(arguments) or arguments[at + 1].startswith("--")):
            yield f"az {command} {flag}: a value is missing"
        at += 2 if takes_value else 1
