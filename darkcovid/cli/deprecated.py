"""Old spellings of commands and options, and global options behind the command: still understood, no longer shown in `--help`."""

COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("segment",): ("lungs", "segment"),
    ("collect",): ("aggregate",),
}
OPTIONS: dict[tuple[str, ...], dict[str, str]] = {
    ("run",): {"--into": "--run-dir"},
    ("lr-find",): {"--plot": "--output"},
    ("bench",): {"--plot": "--output"},
    ("predict",): {"--csv": "--output", "--explain": "--gradcam-dir"},
    ("export",): {"--out": "--output"},
    ("lungs", "segment"): {"--out": "--output"},
    ("lungs", "evaluate"): {"--out": "--output"},
    ("data", "preview"): {"--out": "--output", "--each-class": "--per-class"},
    ("data", "fetch"): {"--to": "--output"},
}
GLOBAL = ("--debug", "--quiet", "-q", "--verbose", "-v")
COMMANDS_OWN = ("--json",)
DATA = "--data"


def current_spelling(given: list[str]) -> list[str]:
    """The words after `darkcovid` as today's command line: old names replaced, `--data phantom` as `--phantom`, and global
    options before the command and `--json` behind it, wherever they stood."""
    before, after = (given[: given.index("--")], given[given.index("--") :]) if "--" in given else (given, [])
    hoisted = [word for word in before if word in GLOBAL]
    rest = [word for word in before if word not in GLOBAL]
    start = next((index for index, word in enumerate(rest) if not word.startswith("-")), len(rest))
    late = [word for word in rest[:start] if word in COMMANDS_OWN]
    command, arguments = _command([*rest[start:], *late])
    renamed = [_option(argument, OPTIONS.get(command, {})) for argument in arguments]
    early = [word for word in rest[:start] if word not in COMMANDS_OWN]
    return [*hoisted, *early, *command, *_phantom_flag(renamed), *after]


def _command(arguments: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The command's words under their current name, and what follows them."""
    if arguments[:2] == ["models", "--json"] and arguments[2:3] == ["show"]:
        return ("models", "show"), [*arguments[3:], "--json"]
    if arguments[:1] == ["models"] and not [word for word in arguments[1:] if not word.startswith("--json")]:
        return ("models", "list"), arguments[1:]
    if tuple(arguments[:1]) in COMMANDS:
        return COMMANDS[tuple(arguments[:1])], arguments[1:]
    length = 2 if tuple(arguments[:2]) in OPTIONS else 1
    return tuple(arguments[:length]), arguments[length:]


def _option(argument: str, renamed: dict[str, str]) -> str:
    name, equals, value = argument.partition("=")
    return renamed.get(name, name) + equals + value


def _phantom_flag(arguments: list[str]) -> list[str]:
    flag: list[str] = []
    skip = False
    for index, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument == f"{DATA}=phantom":
            flag.append("--phantom")
        elif argument == DATA and arguments[index + 1 : index + 2] == ["phantom"]:
            flag.append("--phantom")
            skip = True
        else:
            flag.append(argument)
    return flag
