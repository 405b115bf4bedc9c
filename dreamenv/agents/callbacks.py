"""What happens beside training: saving, evaluating, recording, a progress bar.

Saving and evaluating wait for the moment between an update and the next rollout, where the saved
weights, optimiser and step count belong together and no half-collected rollout is lost.
"""

from __future__ import annotations

import struct
import time

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import TensorBoardOutputFormat
from stable_baselines3.common.vec_env import VecEnv
from tensorboard.compat.proto.summary_pb2 import Summary
from tqdm import tqdm

from dreamenv.agents.config import AgentConfig
from dreamenv.agents.evaluation import Evaluation, evaluate
from dreamenv.agents.resuming import remove_other_episodes, save_episodes
from dreamenv.agents.run_folder import RunFolder
from dreamenv.agents.saving import save_model, unsaved
from dreamenv.agents.videos import encode_gif
from dreamenv.core.files import atomic_write_bytes
from dreamenv.core.progress import progress_bar

VIDEO_FRAMES = 500


class BetweenUpdates(BaseCallback):
    """Calls `act` when a multiple of `every` steps has been passed, and at the end of training."""

    def __init__(self, every: int, last: int) -> None:
        super().__init__()
        self.every = every
        self.last = last
        """Step count at the latest call of `act`, in this process or in the one resumed from."""

    def act(self) -> None:
        """What to do; the agent is `self.model`."""
        raise NotImplementedError

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps // self.every > self.last // self.every:
            self._act_and_note()

    def _on_training_end(self) -> None:
        if self.model.num_timesteps > self.last:
            self._act_and_note()

    def _act_and_note(self) -> None:
        self.act()
        self.last = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True


class SaveAgent(BetweenUpdates):
    """Replaces the saved agent by the present one, atomically, with its episodes under way."""

    def __init__(self, folder: RunFolder, every: int, last: int) -> None:
        super().__init__(every, last)
        self.folder = folder

    def act(self) -> None:
        """Write the agent with its step count, optimiser and random state."""
        episodes = self.folder.episodes_path(self.model.num_timesteps)
        try:
            save_episodes(self.model, episodes)  # type: ignore[arg-type]
        except OSError as error:
            raise unsaved(episodes, error) from error
        # From here on the episodes are those of the agent in the folder.
        save_model(self.model, self.folder.agent)
        remove_other_episodes(episodes)


class KeepAgent(BetweenUpdates):
    """Saves a copy of the agent that no later one replaces."""

    def __init__(self, folder: RunFolder, every: int) -> None:
        super().__init__(every, folder.last_kept_step())
        self.folder = folder

    def act(self) -> None:
        """Write the agent under its step count."""
        save_model(self.model, self.folder.kept_path(self.model.num_timesteps))


class Clock(BaseCallback):
    """Counts the seconds of training in `model.training_seconds`, which is saved with the agent.

    What other callbacks do between updates, saving and evaluating, is left out: put it first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._since: float | None = None

    def _on_training_start(self) -> None:
        self.model.training_seconds = getattr(self.model, "training_seconds", 0.0)  # type: ignore[attr-defined]
        self._since = None

    def _on_step(self) -> bool:
        if self._since is None:
            self._since = time.perf_counter()
        return True

    def _on_rollout_start(self) -> None:
        if self._since is not None:
            self.model.training_seconds += time.perf_counter() - self._since  # type: ignore[attr-defined]
        self._since = None

    def _on_training_end(self) -> None:
        self._on_rollout_start()


class EvaluateAgent(BetweenUpdates):
    """Plays fixed episodes; adds a line to `eval.jsonl`, TensorBoard curves and a GIF."""

    def __init__(self, env: VecEnv, config: AgentConfig, folder: RunFolder) -> None:
        super().__init__(config.eval_every, folder.last_evaluated_step())
        self.env = env
        self.config = config
        self.folder = folder

    def act(self) -> None:
        """Evaluate and record; training's random numbers are not touched."""
        config = self.config
        result = evaluate(
            self.model,  # type: ignore[arg-type]
            self.env,
            config.eval_episodes,
            config.eval_seed,
            record_frames=VIDEO_FRAMES if config.video else 0,
        )
        step = self.model.num_timesteps
        curves = {
            "eval/return_mean": result.mean,
            "eval/return_standard_error": result.standard_error,
            "eval/episodes": len(result.returns),
            "eval/length_mean": float(np.mean(result.lengths)),
        }
        values = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in curves.items()
            if value is not None
        ]
        if config.video:
            values.append(self._save_video(result, step))
        # Not through the logger, which would mix in what the update before has left for its turn.
        for output in self.logger.output_formats:
            if isinstance(output, TensorBoardOutputFormat):
                output.writer._get_file_writer().add_summary(Summary(value=values), step)
                output.writer.flush()
        # Written last: what has no line here is taken out of the charts and made up for.
        self.folder.append_evaluation(
            {
                "step": step,
                "env": config.evaluation_env()[0],
                "seed": config.eval_seed,
                "episodes": len(result.returns),
                "return_mean": result.mean,
                "return_standard_error": result.standard_error,
                "returns": result.returns,
                "lengths": result.lengths,
            }
        )

    def _save_video(self, result: Evaluation, step: int) -> Summary.Value:
        captions = [
            f"step {index}   return {value:g}" for index, value in enumerate(result.return_so_far)
        ]
        gif = encode_gif(result.frames, captions)
        atomic_write_bytes(self.folder.video_path(step), gif)
        # TensorBoard shows an encoded GIF as it is; Stable-Baselines3's way asks for moviepy.
        width, height = struct.unpack("<HH", gif[6:10])
        image = Summary.Image(encoded_image_string=gif, width=width, height=height, colorspace=3)
        return Summary.Value(tag="eval/video", image=image)


class ProgressBar(BaseCallback):
    """Steps done, steps per second, and the mean return of the latest training episodes."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.bar: tqdm | None = None

    def _on_training_start(self) -> None:
        done = self.model.num_timesteps
        self.bar = progress_bar(
            unit="step", total=max(self.steps, done), initial=done, unit_scale=True
        )

    def _on_step(self) -> bool:
        assert self.bar is not None
        # The last rollout may go past the target.
        self.bar.update(min(self.model.num_timesteps, self.bar.total) - self.bar.n)
        return True

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if self.bar is not None and episodes:
            returns = np.mean([episode["r"] for episode in episodes])
            self.bar.set_postfix_str(f"return {returns:.2f}", refresh=False)

    def _on_training_end(self) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal in order, also after an interrupt."""
        if self.bar is not None:
            self.bar.close()
