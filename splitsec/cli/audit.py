"""``splitsec audit``: measure a model of your own on your own images, and write a report."""

from __future__ import annotations

import math
from typing import Any

import click

from splitsec.cli.execution import execute, execution_options, take_execution
from splitsec.cli.report import (
    check_outputs,
    pages_option,
    report_options,
    take_content,
    write_report,
)
from splitsec.cli.saying import say, say_lines
from splitsec.errors import UsageError
from splitsec.isolation import Isolation

_SETTINGS = ("until", "normalise", "carry", "new_head")
_STARTS = 5  # an attack that only listens may miss from one start and hit from another
_SOME = 8  # cuts that a person can choose from
_AXES = ("attack", "defense", "channels", "profile", "threads", "settings", "clients", "precision")


@click.command("audit")
@click.option(
    "--model",
    metavar="FILE.py:FUNCTION|torchvision:NAME",
    help="The model: a function, or a class, of a file that builds it, or a model of torchvision.",
)
@click.option(
    "--data",
    metavar="NAME:PARAMETER=VALUE",
    help="Your images, such as folder:path=scans,csv=labels.csv.",
)
@click.option(
    "--traffic",
    metavar="FOLDER",
    help="Instead of a model: smashed data that another framework recorded, with their images.",
)
@click.option("--weights", metavar="FILE", help="Its trained weights: .safetensors or .pt.")
@click.option(
    "--cut",
    metavar="NAME,NAME",
    help="Submodules after which the client ends, such as features.3, or before-classifier. "
    "Without it, those that are possible are printed and nothing is run.",
)
@click.option("--until", default="", metavar="NAME", help="Submodule where the server ends.")
@click.option(
    "--mode",
    type=click.Choice(["inference", "continue", "scratch"]),
    help="Use the model as it is, train on from its weights, or train from random ones.  "
    "[default: inference with --weights, else scratch]",
)
@click.option(
    "--trained-on",
    metavar="FILE",
    help="Names of the images that trained the weights, one per line; none of them is held out.",
)
@click.option("--normalise", metavar="NAME", help="imagenet, half, none or 'means / deviations'.")
@click.option("--carry", is_flag=True, help="Send residual connections around the cut, too.")
@click.option("--new-head", is_flag=True, help="Start the last layer anew for other classes.")
@click.option(
    "--attack",
    help="As for splitsec eval.  [default: strongest; of traffic, strongest:server=listening]",
)
@click.option("--defense", default="none", show_default=True, help="As for splitsec eval.")
@click.option(
    "--size", type=click.IntRange(8), default=64, show_default=True, help="Image size, pixels."
)
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True)
@click.option("--clients", type=click.IntRange(1), default=1, show_default=True)
@click.option("--profile", default="quick", show_default=True, help="Where the rest comes from.")
@click.option("--seeds", type=click.IntRange(1), help="Seeds 0 to N-1.  [default: 1; of traffic 5]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--precision", type=click.Choice(["float32", "bf16"]), default="float32")
@click.option("--set", "settings", multiple=True, metavar="KIND.NAME.PARAMETER=VALUE")
@pages_option
@report_options
@execution_options
def command(**options: Any) -> int:
    """Attack a model of your own, on your own images, and write a report.

    The network is divided where you say: its layers up to the cut are the hospital's, the others
    the server's. Nothing leaves this machine.

    \b
    splitsec audit --model torchvision:mobilenet_v3_small --data folder:path=scans
    splitsec audit --model torchvision:mobilenet_v3_small --data folder:path=scans --weights model.pt --cut features.1,features.3
    splitsec audit --traffic recorded

    Exits as splitsec eval does.
    """  # noqa: D301, E501 - click's own mark for a block that is not wrapped
    content, pages = take_content(options), options.pop("pages")
    check_outputs(pages)
    seeds, size, cut = (options.pop(name) for name in ("seeds", "size", "cut"))
    axes = {name: value for name in _AXES if (value := options.pop(name)) is not None}
    usual = 1 if options["traffic"] is None else _STARTS
    seeds = tuple(range(seeds or usual))
    axes |= {"size": (size,), "seed": seeds, "channels": int(axes["channels"])}
    told = {name: options.pop(name) for name in _ABOUT}
    traffic = options.pop("traffic")
    _check(traffic, cut, told)
    if not cut and traffic is None:
        _say_cuts(_audited(told), size, axes)
        return 0
    cuts = [one.strip() for one in (cut or "").split(",") if one.strip()]
    if not cuts and traffic is None:
        raise UsageError("--cut names no submodule")
    execution = take_execution(options)

    def cells(isolation: Isolation | None) -> list[Any]:
        from splitsec.cells.auditing import audit_request, traffic_request
        from splitsec.cells.resolve import resolve

        if traffic is not None:
            return resolve(traffic_request(traffic, axes), isolation)
        return resolve(audit_request(_audited(told), cuts, axes), isolation)

    def report(records: list[Any]) -> None:
        from splitsec.leaderboard.report import verdict_in_words
        from splitsec.leaderboard.report_rows import Limits
        from splitsec.records.store import StoredRecord

        found = [StoredRecord(one, one.folder) for one in records]
        if not any(one.status == "ok" and one.leakage is not None for one in records):
            reasons = dict.fromkeys(str(one.reason) for one in records if one.reason)
            say(f"no report: no cell has a result: {'; '.join(reasons)}", err=True)
            return
        if not execution.as_json:
            for sentence in verdict_in_words(found, Limits(*content.limits)):
                say(sentence)
        write_report(found, pages or [execution.output / "report.html"], content)

    return execute(cells, execution, report)


_ABOUT = (
    "model",
    "data",
    "weights",
    "mode",
    "trained_on",
    "until",
    "normalise",
    "carry",
    "new_head",
)


def _check(traffic: str | None, cut: str | None, told: dict[str, Any]) -> None:
    """Raise a UsageError unless there is either a model with images, or recorded traffic."""
    if traffic is None:
        if not (told["model"] and told["data"]):
            raise UsageError("name the model and the images: --model and --data, or --traffic")
        return
    given = [name for name, value in (*told.items(), ("cut", cut)) if value]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise UsageError(
            f"--traffic was recorded with a model that nobody knows; leave out {option}"
        )


def _audited(told: dict[str, Any]) -> Any:
    from splitsec.cells.auditing import AuditedModel

    settings = {
        name: str(value).lower() if value is True else value
        for name in _SETTINGS
        if (value := told[name])
    }
    return AuditedModel(
        told["model"], told["data"], told["weights"], told["mode"], told["trained_on"], settings
    )


def _say_cuts(audited: Any, size: int, axes: dict[str, Any]) -> None:
    """Print where a model can be cut, and what its outputs must be."""
    from splitsec.cells.auditing import images_of, possible_cuts
    from splitsec.escaping import short_name
    from splitsec.shapes import Shape

    channels = axes["channels"]
    images = images_of(audited, axes)
    cuts = possible_cuts(audited, Shape(channels, size, size))
    shown = _outermost(list(cuts))
    width = max(map(len, map(short_name, shown)), default=0)
    lines = [f"{'cut':<{width}}  {'smashed data':<14}  values, of those of the image\n"]
    for name in shown:
        share = math.prod(cuts[name]) / (channels * size * size)
        said = "x".join(map(str, cuts[name]))
        lines.append(f"{short_name(name):<{width}}  {said:<14}  {share:.2f}\n")
    say_lines("".join(lines))
    deeper = len(cuts) - len(shown)
    more = f"; {deeper} submodules inside of these can be named, too" if deeper else ""
    say(f"name one or several with --cut{more}", err=True)
    if images.classes:
        order = ", ".join(
            f"{index} {short_name(name)}" for index, name in enumerate(images.classes)
        )
        say(f"the model's outputs must be in this order of the classes: {order}", err=True)


def _outermost(names: list[str]) -> list[str]:
    """Return the outermost submodules, of as few levels as leave some to choose from."""
    for depth in range(max((one.count(".") for one in names), default=0) + 1):
        shown = [one for one in names if one.count(".") <= depth]
        if len(shown) >= _SOME:
            return shown
    return names
