"""One run, and many side by side: settings, loop, checkpoints, workers, live progress. May import ``reports``."""

from feedgym.experiments.runs.checkpoint import (
    DONE,
    file_name,
    found_result,
    kept_result,
    load_arrays,
    read_json,
    save_arrays,
    write_bytes,
    write_json,
)
from feedgym.experiments.runs.code import OtherCodeWarning, changed, code_with, heard, of_other_code, say, without_code
from feedgym.experiments.runs.drive import make_drive
from feedgym.experiments.runs.embeddings import EMBEDDINGS
from feedgym.experiments.runs.live import LiveProgress
from feedgym.experiments.runs.messages import Failed, Finished, Message
from feedgym.experiments.runs.run_config import RunConfig, WorldConfig, load_reader_model
from feedgym.experiments.runs.run_log import RunLog, run_folders
from feedgym.experiments.runs.runner import Report, load_run, run
from feedgym.experiments.runs.standing import CONFIG, CURVES, standing, words_of
from feedgym.experiments.runs.threads import one_thread
from feedgym.experiments.runs.workers import Task, cores, run_tasks

__all__ = [
    "CONFIG",
    "CURVES",
    "DONE",
    "EMBEDDINGS",
    "Failed",
    "Finished",
    "LiveProgress",
    "Message",
    "OtherCodeWarning",
    "Report",
    "RunConfig",
    "RunLog",
    "Task",
    "WorldConfig",
    "changed",
    "code_with",
    "cores",
    "file_name",
    "found_result",
    "heard",
    "kept_result",
    "load_arrays",
    "load_reader_model",
    "load_run",
    "make_drive",
    "of_other_code",
    "one_thread",
    "read_json",
    "run",
    "run_folders",
    "run_tasks",
    "save_arrays",
    "say",
    "standing",
    "without_code",
    "words_of",
    "write_bytes",
    "write_json",
]
