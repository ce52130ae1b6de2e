"""Reporting scores: mean, standard deviation, interval, histogram, and the published figures beside them."""

import os

import numpy as np

from world_models.job.outputs import output


def bootstrap_interval(scores, resamples=10_000, confidence=0.95):
    """[low, high]: the percentile bootstrap interval of the mean, with a fixed seed."""
    scores = np.asarray(scores, np.float64)
    chosen = np.random.default_rng(0).integers(len(scores), size=(resamples, len(scores)))
    tail = (1 - confidence) / 2 * 100
    return [float(value) for value in np.percentile(scores[chosen].mean(axis=1), (tail, 100 - tail))]


def summary(scores, steps):
    """{"mean", "std", "interval", "scores", "steps"} of episodes. std is over episodes, as in the article."""
    scores = np.asarray(scores, np.float64)
    return {
        "mean": float(scores.mean()),
        "std": float(scores.std()),
        "interval": bootstrap_interval(scores),
        "scores": scores.tolist(),
        "steps": np.asarray(steps).tolist(),
    }


def table(game, world, measured):
    """The measured summaries, {name: summary}, above what was published for the Game in this world, as lines of text."""
    lines = [f"{'measured here':36} {'mean':>8} {'std':>8}   95% interval of the mean"]
    for name, result in measured.items():
        low, high = result["interval"]
        lines.append(f"{name:36} {result['mean']:8.1f} {result['std']:8.1f}   {low:.1f} to {high:.1f}")
    published = game.published.get(world, ())
    if published:
        lines += ["", f"{'published (article, 100 episodes)':36} {'mean':>8} {'std':>8}"]
        lines += [f"{name:36} {mean:8} {deviation:8}" for name, mean, deviation in published]
    return "\n".join(lines)


def save_histogram(path, title, measured):
    """Write a PNG with one histogram of scores for each of `measured`, {name: summary}, with common bins."""
    from matplotlib.figure import Figure

    everything = np.concatenate([result["scores"] for result in measured.values()])
    bins = np.histogram_bin_edges(everything, bins=25)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, result in measured.items():
        axes.hist(result["scores"], bins, alpha=0.6, label=f"{name}: {result['mean']:.0f} +- {result['std']:.0f}")
    axes.set(xlabel="score of an episode", ylabel="episodes", title=title)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def save_figure(figure, path):
    """Write a matplotlib Figure to `path`, in the format of its extension, one of PICTURES."""
    with output(path) as temporary:
        figure.savefig(temporary, dpi=120)


# Of the endings in job.outputs.VIDEOS: codec and quality for ffmpeg. A README can show a .webp, and plays it in a loop.
CODECS = {".mp4": ("libx264", ["-crf", "15"]), ".webp": ("libwebp_anim", ["-quality", "60", "-loop", "0"])}
ENLARGED = 4  # a frame's pixel becomes a square of this width


def write_film(path, pictures, fps):
    """Write a video of `pictures` (T,H,W,3) uint8, enlarged; H and W: multiples of 4. Its ending: one of VIDEOS."""
    import imageio_ffmpeg

    codec, options = CODECS[os.path.splitext(path)[1].lower()]
    _, height, width, _ = pictures.shape
    size = ENLARGED * width, ENLARGED * height
    with output(path) as temporary:
        writer = imageio_ffmpeg.write_frames(temporary, size, fps=fps, codec=codec, quality=None, output_params=options)
        writer.send(None)
        for picture in pictures:
            writer.send(picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1))
        writer.close()
