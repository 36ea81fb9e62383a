"""The plan's promises: every clip once a pass, an exact mixture, independence of ranks and of the order of asking."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from whisper_aut.constants import WINDOW_FRAMES, WINDOW_SAMPLES, context_frames
from whisper_aut.data.plan import ClipRef, Plan
from whisper_aut.errors import ManifestError, RecipeError

PAPER = {"speech": 0.8, "environment": 0.1, "music": 0.1}


def _lengths(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return {domain: rng.integers(1, WINDOW_SAMPLES + 1, size) for domain, size in sizes.items()}


def _plan(sizes=None, *, weights=PAPER, clips_per_step=16, micro_batch_clips=2, full=0.1, seed=0):
    sizes = sizes or {"speech": 3000, "environment": 700, "music": 500}
    return Plan(_lengths(sizes), weights, clips_per_step, micro_batch_clips, full, seed)


def _clips(plan, steps):
    return [clip for step in steps for micro_batch in plan.step(step) for clip in micro_batch.clips]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 900)] * 3),
    parts=st.tuples(*[st.integers(1, 9)] * 3),
    micro_batch_clips=st.sampled_from([1, 2, 4, 8]),
    per_step=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_window_has_the_exact_mixture_and_every_pass_every_clip_once(
    sizes, parts, micro_batch_clips, per_step, seed
):
    weights = {domain: part / sum(parts) for domain, part in zip(PAPER, parts, strict=True)}
    plan = _plan(
        dict(zip(PAPER, sizes, strict=True)),
        weights=weights,
        clips_per_step=per_step * micro_batch_clips,
        micro_batch_clips=micro_batch_clips,
        seed=seed,
    )
    assume(plan.window_steps * plan.clips_per_step < 6000)
    seen: Counter[ClipRef] = Counter()
    for window in range(2):
        clips = _clips(plan, range(window * plan.window_steps, (window + 1) * plan.window_steps))
        by_domain = Counter(clip.domain for clip in clips)
        assert by_domain == {domain: round(weight * len(clips)) for domain, weight in weights.items()}
        seen.update(clips)
        for domain, size in zip(PAPER, sizes, strict=True):
            times = np.array([seen[ClipRef(domain, row)] for row in range(size)])
            passes, rest = divmod(int(times.sum()), size)
            # After whole passes and a part of one, `rest` clips have been read once more than the others.
            assert (times == passes + 1).sum() == rest
            assert (times == passes).sum() == size - rest


@settings(max_examples=40, deadline=None)
@given(
    num_steps=st.integers(1, 700),
    parts=st.tuples(*[st.integers(1, 9)] * 3),
    full=st.sampled_from([0.0, 0.02, 0.25]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_run_of_any_length_has_the_mixture_to_one_clip(num_steps, parts, full, seed):
    weights = {domain: part / sum(parts) for domain, part in zip(PAPER, parts, strict=True)}
    samples = _lengths({"speech": 300, "environment": 70, "music": 50})
    plan = Plan(samples, weights, 4, 2, full, seed, num_steps=num_steps)
    clips = _clips(plan, range(num_steps))
    by_domain = Counter(clip.domain for clip in clips)
    assert len(clips) == 4 * num_steps
    for domain, weight in weights.items():
        assert abs(by_domain[domain] - weight * len(clips)) < 2
    num_full = sum(m.context == "full" for n in range(num_steps) for m in plan.step(n))
    assert abs(num_full - full * 2 * num_steps) < 1
    stats = plan.stats(num_steps)
    assert stats.num_clips == {domain: by_domain[domain] for domain in stats.num_clips}


def test_whole_windows_do_not_depend_on_where_the_run_ends():
    samples = _lengths({"speech": 300, "environment": 70, "music": 50})
    endless, ending = (Plan(samples, PAPER, 4, 2, 0.25, 3, num_steps=n) for n in (None, 400))
    assert ending.window_steps < 400
    assert all(endless.step(n) == ending.step(n) for n in range(ending.window_steps))
    assert endless.fingerprint != ending.fingerprint


def test_a_pass_ends_with_every_clip_read_once():
    plan = _plan({"speech": 512}, weights={"speech": 1.0}, clips_per_step=16)
    assert plan.window_steps * 16 == 512
    for number in range(3):
        clips = _clips(plan, range(number * 32, (number + 1) * 32))
        assert sorted(clip.row for clip in clips) == list(range(512))


def test_passes_come_in_different_orders():
    plan = _plan({"speech": 512}, weights={"speech": 1.0})
    assert _clips(plan, range(32)) != _clips(plan, range(32, 64))


def test_the_ranks_of_any_world_read_the_same_step_between_them():
    plan = _plan()
    ledger = {}
    for world in (1, 2, 4, 8):
        ledger[world] = [
            sorted(
                (micro_batch for rank in range(world) for micro_batch in plan.rank_share(step, rank, world)),
                key=lambda micro_batch: micro_batch.index,
            )
            for step in range(60)
        ]
        assert all(len(plan.rank_share(3, rank, world)) == 8 // world for rank in range(world))
    assert ledger[1] == ledger[2] == ledger[4] == ledger[8]


@pytest.mark.parametrize("world", [0, 3, 5, 16])
def test_a_world_that_does_not_divide_the_step_is_told_which_do(world):
    with pytest.raises(RecipeError, match="cannot share the 8") as caught:
        _plan().rank_share(0, 0, world)
    assert "1, 2, 4, 8 rank(s)" in caught.value.remedy


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12))
def test_a_step_does_not_depend_on_what_was_asked_before(steps):
    plan = _plan()
    for step in steps:
        assert plan.step(step) == _plan().step(step)


def test_steps_far_ahead_need_no_steps_before():
    micro_batches = _plan().step(10**9)
    assert len(micro_batches) == 8 and micro_batches[0].step == 10**9


def test_a_micro_batch_is_as_long_as_its_longest_clip_or_the_full_window():
    plan = _plan()
    lengths = _lengths({"speech": 3000, "environment": 700, "music": 500})
    for step in range(40):
        micro_batches = plan.step(step)
        assert [micro_batch.index for micro_batch in micro_batches] == list(range(8))
        frames = [micro_batch.num_frames for micro_batch in micro_batches]
        assert frames == sorted(frames)
        for micro_batch in micro_batches:
            longest = max(int(lengths[clip.domain][clip.row]) for clip in micro_batch.clips)
            assert micro_batch.num_frames == context_frames(longest, micro_batch.context)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1))
def test_the_share_of_full_windows_is_exact_to_one_micro_batch(fraction):
    plan = _plan(full=fraction)
    num_windows = 3
    contexts = [mb.context for step in range(num_windows * plan.window_steps) for mb in plan.step(step)]
    assert abs(contexts.count("full") - fraction * len(contexts)) < 1.01
    assert all(mb.num_frames == WINDOW_FRAMES for step in range(5) for mb in plan.step(step) if mb.context == "full")


def test_all_or_no_micro_batches_can_be_full():
    assert {mb.context for step in range(50) for mb in _plan(full=1.0).step(step)} == {"full"}
    assert {mb.context for step in range(50) for mb in _plan(full=0.0).step(step)} == {"trimmed"}


def test_padding_is_small():
    stats = _plan({"speech": 3000, "environment": 700, "music": 500}, micro_batch_clips=8).stats(128)
    assert stats.padding_fraction < 0.05  # lengths spread evenly over 0 to 30 s


def test_padding_of_real_durations_is_a_fraction_of_random_batching(real_data_dir):
    from whisper_aut.data.manifest import load_manifest

    lengths = {name: load_manifest(real_data_dir / "train" / f"{name}.jsonl").table.numbers for name in PAPER}
    samples = {name: found["num_samples"][found["num_samples"] <= 480_000] for name, found in lengths.items()}
    weights = {"speech": 0.4, "environment": 0.45, "music": 0.15}
    assert Plan(samples, weights, 16, 8, 0.1, 0).stats(500).padding_fraction < 0.1


def test_stats_count_what_the_steps_hold():
    plan = _plan(full=0.25)
    steps = plan.window_steps + 7
    stats = plan.stats(steps)
    lengths = _lengths({"speech": 3000, "environment": 700, "music": 500})
    clips = _clips(plan, range(steps))
    assert stats.num_clips == Counter(clip.domain for clip in clips)
    for domain in PAPER:
        seconds = sum(int(lengths[domain][clip.row]) for clip in clips if clip.domain == domain) / 16_000
        assert stats.hours[domain] == pytest.approx(seconds / 3600)
        assert stats.passes[domain] == pytest.approx(stats.num_clips[domain] / len(lengths[domain]))
        assert stats.realised[domain] == pytest.approx(stats.num_clips[domain] / len(clips))
    trimmed = [mb for step in range(steps) for mb in plan.step(step) if mb.context == "trimmed"]
    real = sum(int(lengths[clip.domain][clip.row]) for mb in trimmed for clip in mb.clips) / 160
    assert stats.padding_fraction == pytest.approx(1 - real / sum(mb.num_frames * 2 for mb in trimmed))
    assert stats.full_window_fraction == pytest.approx(1 - len(trimmed) / (8 * steps))


def test_substitutes_are_deterministic_other_clips_of_the_domain_that_fit():
    plan, lengths = _plan(), _lengths({"speech": 3000, "environment": 700, "music": 500})
    order = np.argsort(lengths["environment"])
    for row in order[50:60].tolist():  # clips that only a few are shorter than
        ref = ClipRef("environment", row)
        substitutes = [plan.substitute(ref, attempt) for attempt in range(8)]
        assert substitutes == [_plan().substitute(ref, attempt) for attempt in range(8)]
        assert len(set(substitutes)) > 1
        assert all(s.domain == "environment" and s != ref for s in substitutes)
        fitting = [s for s in substitutes if lengths["environment"][s.row] <= lengths["environment"][row]]
        assert len(fitting) >= 4
    assert plan.substitute(ClipRef("music", 3), 0) != plan.substitute(ClipRef("music", 4), 0)


def test_a_pool_of_one_clip_can_only_name_itself():
    plan = _plan({"speech": 1}, weights={"speech": 1.0})
    assert plan.substitute(ClipRef("speech", 0), 0) == ClipRef("speech", 0)


def test_the_fingerprint_changes_with_every_argument():
    plans = [
        _plan(),
        _plan(seed=1),
        _plan(full=0.2),
        _plan(clips_per_step=32),
        _plan(micro_batch_clips=4),
        _plan(weights={"speech": 0.7, "environment": 0.2, "music": 0.1}),
        _plan({"speech": 3001, "environment": 700, "music": 500}),
    ]
    assert len({plan.fingerprint for plan in plans}) == len(plans)
    assert _plan().fingerprint == _plan().fingerprint


def test_steps_never_change_between_releases():
    # A checkpoint says "step n of plan P"; if this fails, count the plan's version up.
    plan = Plan({"speech": np.arange(1, 11) * 16_000}, {"speech": 1.0}, 4, 2, 0.25, 7)
    assert [clip.row for clip in _clips(plan, range(3))] == [1, 1, 5, 5, 2, 2, 5, 5, 7, 7, 2, 2]


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(RecipeError, match="multiple"):
        _plan(clips_per_step=10, micro_batch_clips=4)
    with pytest.raises(ManifestError, match="no clip"):
        _plan({"speech": 3, "environment": 0, "music": 2})
    with pytest.raises(ManifestError, match="480001"):
        Plan({"speech": np.array([480_001])}, {"speech": 1.0}, 2, 2, 0.0, 0)


def test_a_partner_is_a_pure_function_of_clip_and_step_of_the_same_domain_and_no_longer():
    samples = {"environment": np.arange(16_000, 96_000, 800), "speech": np.full(50, 16_000)}
    weights = {"environment": 0.5, "speech": 0.5}
    plan = Plan(samples, weights, 8, 4, 0.0, 1, {"environment": 0.5})
    same = Plan(samples, weights, 8, 4, 0.0, 1, {"environment": 0.5})
    refs = [(step, ref) for step in range(200) for micro in plan.step(step) for ref in micro.clips]
    found = [plan.partner(ref, step) for step, ref in refs]
    assert found == [same.partner(ref, step) for step, ref in refs]
    of_environment = [(ref, pair) for (_, ref), pair in zip(refs, found, strict=True) if ref.domain == "environment"]
    assert all(pair is None for (_, ref), pair in zip(refs, found, strict=True) if ref.domain == "speech")
    share = sum(pair is not None for _, pair in of_environment) / len(of_environment)
    assert abs(share - 0.5) < 0.06  # 800 draws: three and a half standard deviations
    pairs = [(ref, *pair) for ref, pair in of_environment if pair is not None]
    lengths = samples["environment"]
    assert all(partner.domain == "environment" and partner.row != ref.row for ref, partner, _ in pairs)
    no_longer = [lengths[partner.row] <= lengths[ref.row] for ref, partner, _ in pairs]
    assert np.mean(no_longer) > 0.9  # the shortest clips have no shorter one
    assert all(-6 <= overlay.level_db <= 6 and 0 <= overlay.place < 1 for *_, overlay in pairs)


def test_overlays_are_part_of_the_fingerprint():
    samples = {"environment": np.full(50, 16_000)}
    fingerprints = {
        Plan(samples, {"environment": 1.0}, 8, 4, 0.0, 1, fractions).fingerprint
        for fractions in (None, {"environment": 0.25}, {"environment": 0.5})
    }
    assert len(fingerprints) == 3
    assert Plan(samples, {"environment": 1.0}, 8, 4, 0.0, 1, {"environment": 0.0}).fingerprint in fingerprints


SOURCES = {"speech": [(2000, 3.0), (1000, 1.0)], "environment": [(100, 1.0), (600, 1.0)]}


def _sourced(seed=0, **settings):
    lengths = _lengths({"speech": 3000, "environment": 700, "music": 500})
    return Plan(lengths, PAPER, 16, 2, 0.1, seed, sources=SOURCES, **settings)


def test_weighted_sources_have_their_share_of_every_window_and_passes_of_their_own():
    plan = _sourced()
    clips = _clips(plan, range(10 * plan.window_steps))
    for domain, parts in SOURCES.items():
        rows = np.array([clip.row for clip in clips if clip.domain == domain])
        start = 0
        for size, weight in parts:
            mine = rows[(rows >= start) & (rows < start + size)] - start
            share = weight / sum(other for _, other in parts)
            assert abs(len(mine) - share * len(rows)) < 1
            times = np.bincount(mine, minlength=size)
            assert times.max() - times.min() <= 1  # whole passes and a part of one
            start += size
        windows = [_clips(plan, range(n * plan.window_steps, (n + 1) * plan.window_steps)) for n in range(10)]
        for window in windows:
            drawn = [clip.row for clip in window if clip.domain == domain]
            first = sum(row < parts[0][0] for row in drawn)
            assert abs(first - parts[0][1] / sum(w for _, w in parts) * len(drawn)) < 2


def test_stats_count_the_clips_of_weighted_sources():
    plan = _sourced(num_steps=777)
    clips = _clips(plan, range(777))
    stats = plan.stats(777)
    assert stats.source_clips.keys() == SOURCES.keys()
    for domain, counts in stats.source_clips.items():
        rows = [clip.row for clip in clips if clip.domain == domain]
        first = sum(row < SOURCES[domain][0][0] for row in rows)
        assert counts == [first, len(rows) - first]
    lengths = _lengths({"speech": 3000, "environment": 700, "music": 500})
    seconds = sum(int(lengths[clip.domain][clip.row]) for clip in clips) / 16_000
    assert sum(stats.hours.values()) == pytest.approx(seconds / 3600)


def test_sources_are_part_of_the_fingerprint_and_one_without_clips_is_refused():
    lengths = _lengths({"speech": 3000, "environment": 700, "music": 500})
    plain = Plan(lengths, PAPER, 16, 2, 0.1, 0)
    other = Plan(lengths, PAPER, 16, 2, 0.1, 0, sources=SOURCES | {"speech": [(2000, 1.0), (1000, 1.0)]})
    assert len({plain.fingerprint, _sourced().fingerprint, other.fingerprint}) == 3
    with pytest.raises(ManifestError, match="manifest 2 of speech has a weight and no clip"):
        Plan(lengths, PAPER, 16, 2, 0.1, 0, sources={"speech": [(3000, 1.0), (0, 1.0)]})


def _budgeted(sec=60.0, clips_per_step=64, full=0.1, seed=0, sizes=None, **settings):
    sizes = sizes or {"speech": 3000, "environment": 700, "music": 500}
    return Plan(_lengths(sizes), PAPER, clips_per_step, 8, full, seed, micro_batch_sec=sec, **settings)


@settings(max_examples=8, deadline=None)
@given(
    sec=st.sampled_from([30.0, 45.0, 100.0, 300.0]),
    clips_per_step=st.sampled_from([33, 64, 200]),
    full=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_budget_of_audio_bounds_every_micro_batch_and_loses_no_clip(sec, clips_per_step, full, seed):
    plan = _budgeted(sec, clips_per_step, full, seed)
    windows = range(2 * plan.window_steps)
    micro_batches = [micro_batch for step in windows for micro_batch in plan.step(step)]
    assert all(len(plan.step(step)) == plan.micro_batches_per_step for step in windows)
    clips = [clip for micro_batch in micro_batches for clip in micro_batch.clips]
    assert len(clips) == len(windows) * clips_per_step
    by_domain = Counter(clip.domain for clip in clips)
    assert all(abs(by_domain[domain] - weight * len(clips)) < 2 for domain, weight in PAPER.items())
    num_full = sum(micro_batch.context == "full" for micro_batch in micro_batches)
    assert abs(num_full - full * len(micro_batches)) <= 1
    lengths = _lengths({"speech": 3000, "environment": 700, "music": 500})
    costs = []
    for micro_batch in micro_batches:
        longest = max(int(lengths[clip.domain][clip.row]) for clip in micro_batch.clips)
        assert micro_batch.num_frames == context_frames(longest, micro_batch.context)
        costs.append(micro_batch.num_frames * len(micro_batch.clips) / 100)
    assert max(costs) <= max(1.06 * sec, 30.0)
    for domain, size in (("speech", 3000), ("environment", 700), ("music", 500)):
        times = np.bincount([clip.row for clip in clips if clip.domain == domain], minlength=size)
        assert times.max() - times.min() <= 1


def test_micro_batches_of_a_budget_cost_about_the_same_and_pad_little():
    plan = _budgeted(120.0, 256, 0.0)
    costs = [mb.num_frames * len(mb.clips) for step in range(plan.window_steps) for mb in plan.step(step)]
    assert np.std(costs) < 0.1 * np.mean(costs)
    assert plan.stats(plan.window_steps).padding_fraction < 0.03
    sizes = {len(mb.clips) for step in range(plan.window_steps) for mb in plan.step(step)}
    assert max(sizes) > 10 * min(sizes)


def test_a_budget_that_a_step_cannot_fill_is_refused():
    with pytest.raises(RecipeError, match=r"5 clips of 29\.4 s on average do not fill 8 micro-batches"):
        Plan({"speech": np.full(50, 470_000)}, {"speech": 1.0}, 5, 1, 0.0, 0, micro_batch_sec=30.0)


def test_weights_without_a_short_period_still_have_short_windows():
    weights = {"speech": 0.801, "environment": 0.102, "music": 0.097}
    plan = Plan(_lengths({"speech": 3000, "environment": 700, "music": 500}), weights, 999, 9, 0.1, 0)
    assert plan.window_steps * 999 < 200_000
    clips = _clips(plan, range(plan.window_steps))
    by_domain = Counter(clip.domain for clip in clips)
    assert all(abs(by_domain[domain] - weight * len(clips)) < 1 for domain, weight in weights.items())
