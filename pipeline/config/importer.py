"""Converting a config of intelligent-trading-bot, and saying what could not be carried over.

Its keys, as its sample configs show them: flat, one file per symbol, generators by name with a `config`
each. Lengths that it wants typed by hand (features_horizon, label_horizon …) are derived here and so dropped.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pipeline.config.features import FeatureEntry, StatsFeatures
from pipeline.config.importer_values import Old, as_list, as_mapping, as_numbers

_STATISTICS = get_args(get_args(StatsFeatures.model_fields["functions"].annotation)[0])

# pandas frequencies, old spelling and new.
_FREQUENCY = re.compile(r"(\d*)\s*(min|T|h|H|d|D|s|S)")
_UNITS = {"min": "m", "T": "m", "h": "h", "H": "h", "d": "d", "D": "d", "s": "s", "S": "s"}
_DERIVED = (
    "label_horizon",
    "features_horizon",
    "features_last_rows",
    "predict_length",
    "append_overlap_records",
    "train_feature_sets",
)
_SECRETS = ("api_key", "api_secret", "telegram_bot_token", "telegram_chat_id", "mt5_password", "mt5_account_id")
# Read by `convert` or one of the functions below it.
_KNOWN = (
    *_DERIVED,
    *_SECRETS,
    *("symbol", "freq", "venue", "data_sources", "feature_sets", "label_sets", "train_features", "labels"),
    *("algorithms", "train_length", "signal_sets", "output_sets", "simulate_model", "train_signal_model"),
    *("rolling_predict", "data_folder", "description", "time_column", "download_max_rows"),
)


class Conversion:
    """A config in the making: `new` grows section by section, `notes` says what was lost or changed."""

    def __init__(self, old: Old) -> None:
        self.old = old
        self.new: dict[str, Any] = {}
        self.notes: list[str] = []

    def note(self, key: str, text: str) -> None:
        self.notes.append(f"{key}: {text}")

    def entries(self, key: str) -> Iterator[tuple[str, Old, Old]]:
        """Each object in the list `key`: where it stands, itself, and its `config`."""
        for number, entry in enumerate(as_list(self.old.get(key))):
            if isinstance(entry, Mapping):
                yield f"{key}[{number}]", entry, as_mapping(entry.get("config"))
            else:
                self.note(f"{key}[{number}]", f"not carried over: {entry!r} is not an object")

    def take(self, key: str, spec: Old, known: tuple[str, ...]) -> None:
        """Note the keys of `spec` that nothing here reads."""
        for name in spec:
            if name not in known:
                self.note(f"{key}.{name}", "not carried over: there is no such thing here")


def convert(old: Old) -> tuple[dict[str, Any], list[str]]:
    """The new config's mapping, and a note for each thing that was changed or left out."""
    conversion = Conversion(old)
    _basics(conversion)
    _sources(conversion)
    _features(conversion)
    _labels(conversion)
    _train(conversion)
    _signals(conversion)
    _simulate(conversion)
    _rolling(conversion)
    _rest(conversion)
    return conversion.new, conversion.notes


def _basics(c: Conversion) -> None:
    if "symbol" in c.old:
        c.new["symbols"] = [str(c.old["symbol"]).upper()]
    if c.old.get("freq"):
        match = _FREQUENCY.fullmatch(str(c.old["freq"]).strip())
        if match:
            c.new["interval"] = f"{match[1] or 1}{_UNITS[match[2]]}"
        else:
            c.note("freq", f"'{c.old['freq']}' is not an interval of the exchange; 1m is used")
    venue = c.old.get("venue", "binance")
    if venue != "binance":
        c.note("venue", f"'{venue}' is not supported; export its bars and use download: {{source: csv}}")


def _sources(c: Conversion) -> None:
    symbol = c.new.get("symbols", [""])[0]
    others = []
    for key, source, _ in c.entries("data_sources"):
        folder, file = str(source.get("folder", symbol)).upper(), source.get("file", "klines")
        if file == "depth":
            c.note(key, "not carried over: order-book files are not read by merge")
        elif folder != symbol:
            others.append(folder)
            c.note(key, f"its columns are called {folder}_close and so on here")
        elif file == "futures":
            if len(as_list(c.old["data_sources"])) == 1:
                c.new["download"] = {"market": "um"}
            else:
                c.note(key, "not carried over: one config reads spot or futures of a symbol, not both")
        elif file != "klines":
            c.note(key, f"'{file}' taken for klines; for a file of your own use download: {{source: csv}}")
    if others:
        c.new["merge"] = {"symbols": others}


def _features(c: Conversion) -> None:
    makers: dict[str, Callable[[Conversion, str, Old], dict[str, Any] | None]] = {
        "talib": _talib,
        "tsfresh": _tsfresh,
        "itbstats": _itbstats,
        "itblib": _itblib,
    }
    features = []
    for key, entry, spec in c.entries("feature_sets"):
        generator = str(entry.get("generator"))
        if generator not in makers:
            advice = (
                "rewrite it as `custom`: it gets the last `lookback` values and returns one row"
                if ":" in generator
                else "there is no such generator here"
            )
            c.note(key, f"'{generator}' not carried over: {advice}")
            continue
        made = makers[generator](c, key, spec)
        if made is None:
            continue
        body = next(iter(made.values()))
        if prefix := _other_symbol(c, entry.get("column_prefix")):
            body["inputs"] = [f"{prefix}_{column}" for column in body.get("inputs", ["close"])]
        if entry.get("feature_prefix"):
            body["prefix"] = entry["feature_prefix"]
        features.append(made)
    if features:
        c.new["features"] = features


def _other_symbol(c: Conversion, prefix: str | None) -> str:
    sources = [source for _, source, _ in c.entries("data_sources")]
    return next((str(s.get("folder")).upper() for s in sources if prefix and s.get("column_prefix") == prefix), "")


def _talib(c: Conversion, key: str, spec: Old) -> dict[str, Any] | None:
    c.take(key, spec, ("columns", "functions", "windows", "parameters", "names"))
    columns = spec.get("columns", [])
    body: dict[str, Any] = {"functions": as_list(spec.get("functions"))}
    body["inputs"] = list(columns.values()) if isinstance(columns, dict) else as_list(columns)
    periods = [w for w in as_list(spec.get("windows")) if w]
    if 1 in periods:
        c.note(f"{key}.windows", "period 1, which stood for the column itself, is left out: TA-Lib begins at 2")
        periods = [w for w in periods if w != 1]
    if periods:
        body["periods"] = periods
    parameters = as_mapping(spec.get("parameters"))
    if parameters.get("rel_base"):
        body |= {"relative": parameters.get("rel_func", "rel"), "relative_base": parameters["rel_base"]}
        if parameters["rel_base"] == "first":
            c.note(f"{key}.parameters.rel_base", "'first' took the last one as its base there; here it is the first")
    body |= {ours: True for ours, theirs in (("percent", "percentage"), ("log", "log")) if parameters.get(theirs)}
    if spec.get("names"):
        c.note(f"{key}.names", "not carried over: columns are named {column}_{function}_{period}")
    return {"talib": body}


def _tsfresh(c: Conversion, key: str, spec: Old) -> dict[str, Any] | None:
    c.note(key, "columns are called skew and kurtosis instead of skewness_…; msdc is not carried over")
    return _stats(spec, ["skew", "kurtosis", "lsbm", "fmax"], False)


def _itbstats(c: Conversion, key: str, spec: Old) -> dict[str, Any] | None:
    c.take(key, spec, ("columns", "functions", "windows", "parameters"))
    named = {str(name): re.sub("^(scipy|pandas)_", "", str(name).lower()) for name in as_list(spec.get("functions"))}
    for name, ours in named.items():
        if ours != name or ours not in _STATISTICS:
            known = f"is called {ours} here, also in the columns' names" if ours in _STATISTICS else "not carried over"
            c.note(f"{key}.functions", f"'{name}' {known}")
    parameters = as_mapping(spec.get("parameters"))
    c.take(f"{key}.parameters", {name: value for name, value in parameters.items() if value}, ("bias",))
    functions = list(dict.fromkeys(ours for ours in named.values() if ours in _STATISTICS))
    return _stats(spec, functions, bool(parameters.get("bias"))) if functions else None


def _stats(spec: Old, functions: list[str], bias: bool) -> dict[str, Any]:
    columns = spec.get("columns", "close")
    column = next(iter(columns.values())) if isinstance(columns, dict) else next(iter(as_list(columns)), "close")
    return {
        "stats": {"functions": functions, "inputs": [column], "windows": as_list(spec.get("windows")), "bias": bias}
    }


def _itblib(c: Conversion, key: str, spec: Old) -> dict[str, Any] | None:
    if "itblib" not in FeatureEntry.model_fields:
        c.note(key, "'itblib' not carried over: write the columns you use as talib and stats")
        return None
    windows = as_list(spec.get("windows") or spec.get("agg_windows"))
    base = spec.get("base_window") or (max(windows) if windows else None)
    return {"itblib": {"windows": [w for w in windows if w != base], "base_window": base}}


def _labels(c: Conversion) -> None:
    labels: list[dict[str, Any]] = []
    wanted = [str(name) for name in as_list(c.old.get("labels"))]
    for key, entry, spec in c.entries("label_sets"):
        generator = str(entry.get("generator"))
        if generator == "highlow2":
            body = {k: spec[k] for k in ("function", "tolerance", "horizon") if k in spec}
            body |= {"thresholds": as_list(spec.get("thresholds")), "tie": "success"}
            labels.append({generator: body | ({"names": as_list(spec["names"])} if spec.get("names") else {})})
        elif generator == "topbot2":
            body = {k: spec[k] for k in ("function", "level") if k in spec}
            body |= {"level": abs(spec.get("level", 0.02)), "tolerances": as_list(spec.get("tolerances"))}
            body |= {"column": spec["columns"]} if isinstance(spec.get("columns"), str) else {}
            labels.append({generator: body | ({"names": as_list(spec["names"])} if spec.get("names") else {})})
        elif generator == "topbot":
            labels += [_topbot(name) for name in wanted if _TOPBOT.fullmatch(name)]
            c.note(key, "only those of its labels that `labels` names are made, by topbot2")
        elif generator == "highlow":
            labels.append({generator: {"horizons": [spec.get("horizon", 60)], "thresholds": [1.0, 1.5, 2.0, 2.5, 3.0]}})
            c.note(key, "its fixed names (high_10 …) carry the horizon here (high_1.0_60); high_01 … 05 are left out")
        else:
            c.note(key, f"'{generator}' not carried over: there is no such label here")
    if labels:
        c.new["labels"] = labels
        c.note("label_sets", "the last rows are unknown here, not False; every label carries the bar that decides it")


_TOPBOT = re.compile(r"(top|bot)(\d)_(\d+)")


def _topbot(name: str) -> dict[str, Any]:
    match = _TOPBOT.fullmatch(name)
    assert match is not None
    # top2_025: level 2 %, tolerance 0.25 % of the price; 1 is 1 %, 15 is 1.5 %, 125 is 1.25 %.
    level, digits = int(match[2]) / 100, match[3]
    tolerance = float(f"{digits[0]}.{digits[1:] or 0}") / 100
    return {
        "topbot2": {"function": match[1], "level": level, "tolerances": [round(tolerance / level, 6)], "names": [name]}
    }


def _train(c: Conversion) -> None:
    train: dict[str, Any] = {}
    if c.old.get("labels"):
        train["labels"] = list(c.old["labels"])
    if c.old.get("train_features"):
        train["features"] = [str(f).replace("_skewness_", "_skew_") for f in c.old["train_features"]]
    algorithms = [_algorithm(c, key, entry) for key, entry, _ in c.entries("algorithms")]
    if algorithms:
        train["algorithms"] = [algorithm for algorithm, _ in algorithms]
    lengths = [length for length in (c.old.get("train_length"), *(length for _, length in algorithms)) if length]
    if lengths:
        train["length"] = min(lengths)
    if train:
        c.new["train"] = train


def _algorithm(c: Conversion, key: str, spec: Old) -> tuple[dict[str, Any], int]:
    kind = spec.get("algo", "gb")
    # Which of the two holds the model's own parameters changed between its versions.
    given = {**as_mapping(spec.get("params")), **as_mapping(spec.get("train"))}
    length = int(given.pop("length", 0) or 0)
    for ignored in ("is_scale", "shifts", "solver", "penalty", "objective", "metric", "is_regression"):
        given.pop(ignored, None)
    made: dict[str, Any] = {"name": re.sub(r"[^a-zA-Z0-9]", "", str(spec.get("name", kind)))}
    if kind == "lc":
        made |= {"kind": "linear", "rounds": given.pop("max_iter", 1000)}
        made |= {"params": {"C": given.pop("C")}} if "C" in given else {}
    else:
        made["kind"] = "lightgbm"
        if kind != "gb":
            c.note(key, f"'{kind}' models are not supported: LightGBM takes its place under the same name")
            return made, length
        made["rounds"] = given.pop("num_boost_round", 200)
        params = {k: given.pop(k) for k in list(given) if k in _LIGHTGBM}
        made |= {"params": params} if params else {}
    if given.pop("class_weight", None) == "balanced":
        made["class_weight"] = "balanced"
    c.take(key, given, ())
    return made, length


_LIGHTGBM = ("max_depth", "learning_rate", "num_leaves", "lambda_l1", "lambda_l2", "min_data_in_leaf", "max_bin")


def _signals(c: Conversion) -> None:
    steps: list[dict[str, Any]] = []
    for key, entry, spec in c.entries("signal_sets"):
        generator = str(entry.get("generator"))
        columns, names = as_list(spec.get("columns")), spec.get("names", "trade_score")
        if generator == "combine":
            how = spec.get("combine")
            body = {
                "columns": columns,
                "name": names,
                "combine": how if how in ("difference", "relative") else "larger",
            }
            body |= {k: spec[k] for k in ("coefficient", "constant") if spec.get(k)}
            steps.append({"combine": body})
        elif generator == "smoothen":
            body = {"columns": columns, "name": names}
            body |= {k: spec[k] for k in ("point_threshold", "window") if spec.get(k)}
            steps.append({"smooth": body})
        elif generator in ("threshold_rule", "threshold_rule2"):
            parameters = as_mapping(spec.get("parameters"))
            buy, sell = parameters.get("buy_signal_threshold"), parameters.get("sell_signal_threshold")
            steps.append({"threshold": {"column": next(iter(columns), "trade_score"), "buy": buy, "sell": sell}})
            if generator == "threshold_rule2":
                c.note(key, f"only {columns[:1]} is looked at; combine it with {columns[1:]} in a step before")
        else:
            c.note(key, f"'{generator}' not carried over: there is no such step here")
    thresholds = [step for step in steps if "threshold" in step]
    for extra in thresholds[1:]:
        steps.remove(extra)
        c.note("signal_sets", f"a second threshold, on {extra['threshold']['column']}, is left out: there can be one")
    if steps:
        c.new["signals"] = {"steps": steps}


def _simulate(c: Conversion) -> None:
    key = next((k for k in ("simulate_model", "train_signal_model") if c.old.get(k)), None)
    if key is None:
        return
    spec = as_mapping(c.old[key])
    c.take(key, spec, ("data_start", "data_end", "direction", "grid", "signal_generator"))
    simulate: dict[str, Any] = {}
    if spec.get("direction") in ("long", "short", "both"):
        simulate["direction"] = spec["direction"]
    simulate |= _dates(c, key, spec, {"data_start": "start", "data_end": "end"})
    axes = {}
    for ours, theirs in (("buy", "buy_signal_threshold"), ("sell", "sell_signal_threshold")):
        values = as_numbers(given := as_mapping(spec.get("grid")).get(theirs))
        if values is None:
            c.note(
                f"{key}.grid.{theirs}", f"not carried over: {given!r} is no list of numbers; write simulate.grid.{ours}"
            )
        elif values:
            axes[ours] = {"start": values[0], "stop": values[-1], "n": len(values)}
    if len(axes) == 2:
        simulate["grid"] = axes
        c.note(
            f"{key}.grid", "the same ends and number of values, evenly spaced; thresholds are chosen on the first half"
        )
    c.note(key, "fees and slippage are charged here, fills are at the next open: see simulate.costs")
    c.new["simulate"] = simulate


def _rolling(c: Conversion) -> None:
    spec = as_mapping(c.old.get("rolling_predict"))
    rolling: dict[str, Any] = {}
    length = spec.get("train_length") or c.new.get("train", {}).get("length")
    if length:
        rolling |= {"train_length": length, "window": "sliding"}
    if spec:
        known = ("data_start", "data_end", "prediction_start", "prediction_size", "prediction_steps", "train_length")
        c.take("rolling_predict", spec, (*known, "use_multiprocessing", "max_workers"))
        rolling |= {"window": "sliding" if length else "expanding"}
        rolling |= {"prediction_size": spec["prediction_size"]} if spec.get("prediction_size") else {}
        rolling |= {"steps": spec["prediction_steps"]} if spec.get("prediction_steps") else {}
        rolling |= _dates(c, "rolling_predict", spec, {"prediction_start": "start", "data_end": "end"})
        if start := _dates(c, "rolling_predict", spec, {"data_start": "start"}):
            c.new.setdefault("merge", {}).update(start)
            if not c.new.get("download", {}).get("start"):
                c.new.setdefault("download", {}).update(start)
        if spec.get("use_multiprocessing"):
            c.new["workers"] = spec.get("max_workers", 0)
    if rolling:
        c.new["predict_rolling"] = rolling


def _dates(c: Conversion, key: str, spec: Old, names: Mapping[str, str]) -> dict[str, str]:
    dates = {}
    for theirs, ours in names.items():
        value = spec.get(theirs)
        if isinstance(value, str):
            dates[ours] = value.strip().replace(" 00:00:00", "").replace(" ", "T")
        elif value:
            c.note(f"{key}.{theirs}", f"{value} is a row number; give a date")
    return dates


def _rest(c: Conversion) -> None:
    for key, entry, _ in c.entries("output_sets"):
        if entry.get("generator") != "trader_simulation":
            c.note(key, f"'{entry.get('generator')}' not carried over: it belongs to live operation")
    for key in c.old:
        if key in _SECRETS:
            c.note(key, "left out: keys and tokens do not belong in a config")
        elif key in _DERIVED and c.old[key]:
            c.note(key, "not needed: it follows from the features, labels and models")
        elif key not in _KNOWN:
            c.note(key, "not carried over: there is no such thing here")
