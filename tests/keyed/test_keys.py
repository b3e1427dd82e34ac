"""Keys never meet, never change their meaning, and cut draws where hypercubes end."""

from __future__ import annotations

import numpy as np
import torch

from pyro_posterior.keyed.fills import NORMAL, fill
from pyro_posterior.keyed.keys import SLAB, Key, Where
from pyro_posterior.keyed.streams import bit_generators, generated, generators

CPU = torch.device("cpu")

GOLDEN_LOCAL = (-266881514, -434011808)
GOLDEN_GLOBAL = (-1472186032, -1136410973)


def normals(key, at, columns=50):
    return fill(NORMAL, key, at, (columns,), torch.float32, CPU)


def test_a_key_never_changes_its_meaning():
    """Results kept by users depend on these numbers: blake2b of "1|z|0|cube0|0" and "...|global"."""
    where = Where(1, range(8), 0)
    assert Key("z", 0, True).words(where, "cube0")[:2] == GOLDEN_LOCAL
    assert Key("z", 0, False).words(where, "cube0")[:2] == GOLDEN_GLOBAL
    assert SLAB == 8


def test_seeds_that_agree_in_their_low_half_are_other_seeds():
    """torch's generator takes the low 32 bits of its seed on a CPU."""
    for other in (12345 + (7 << 32), 12345 + (1 << 63), 12345 - (1 << 32)):
        one, two = (Where(seed, range(16), 0, (16,)) for seed in (12345, other))
        assert not torch.isin(
            normals(Key("z", 0, True), one), normals(Key("z", 0, True), two)
        ).any()
    generator = torch.Generator()
    plain = [
        torch.randn(9, generator=generator.manual_seed(seed)) for seed in (12345, 12345 + (7 << 32))
    ]
    assert torch.equal(*plain)  # what is to be avoided


def test_streams_take_the_whole_key():
    """Keys whose words differ in any one bit have other generators."""

    class Made(Key):
        def words(self, at, purpose):
            return variants[at.seed]

    base = (1, -2, 3, -4, 5, -6, 7, -8)
    variants = [base] + [
        (*base[:i], base[i] ^ (1 << bit), *base[i + 1 :]) for i in range(4) for bit in range(31)
    ]
    large, small = set(), set()
    for number in range(len(variants)):
        at = Where(number, range(1), 0)
        (one,) = generators(Made("z", 0, True), at, CPU)
        large.add(torch.rand(3, generator=one).numpy().tobytes())
        (two,) = bit_generators(Made("z", 0, True), at)
        small.add(two.random(3).tobytes())
    assert len(large) == len(small) == len(variants)


def test_no_triple_of_draws_comes_twice_in_a_long_run():
    """3,000 minibatches of one observation, 1,000 draws, 2 values in each."""
    triples = []
    for minibatch in range(3000):
        x = normals(Key("z", 0, True), Where(1, range(1000), minibatch), 2).numpy().T.copy()
        triples.append(np.lib.stride_tricks.sliding_window_view(x.view(np.uint32), 3, 1))
    every = np.concatenate(triples).reshape(-1, 3).astype(np.uint64)
    packed = np.sort((every[:, 0] << np.uint64(32) | every[:, 1]) ^ (every[:, 2] << np.uint64(13)))
    assert (np.diff(packed) == 0).sum() <= 3  # 6 million, folded to 64 bits: 1e-6 by chance


def test_draws_are_cut_where_hypercubes_end():
    def pieces(draws):
        found = Where(0, draws, 0, (5, 4)).pieces()
        return [(p.rows.start, p.rows.stop, p.first, p.length, p.cube) for p in found]

    assert pieces(range(2, 12)) == [
        (0, 3, 2, 5, "cube0"),
        (3, 7, 0, 4, "cube1"),
        (7, 10, 9, 1, "apart"),
    ]
    assert pieces(range(5, 6)) == [(0, 1, 0, 4, "cube1")]
    assert pieces(range(9, 11)) == [(0, 2, 9, 1, "apart")]


def test_a_devices_own_draws_are_cut_anywhere():
    """The way independent draws are made on a GPU, here with the generators of a CPU."""
    key = Key("z", 0, True)

    def made(low, high):
        at = Where(1, range(low, high), 0)
        out = torch.empty(high - low, 40)
        generated(out, "normal_", key, at, next(at.pieces()), "apart")
        return out

    whole = made(0, 32)
    assert torch.equal(made(8, 24), whole[8:24])
    assert torch.equal(made(3, 21), whole[3:21])
    assert torch.equal(made(17, 18), whole[17:18])
    assert len(torch.unique(whole)) == whole.numel()
