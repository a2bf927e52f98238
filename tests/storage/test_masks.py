import gzip
import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image

from app.errors import (
    EmptyMask,
    MaskLengthWrong,
    MaskTooLarge,
    NotAMask,
    NotAPng,
    ShapeMismatch,
    UnknownMaskValues,
)
from app.storage.masks import (
    UNLABELLED,
    check_mask_labelled,
    check_mask_values,
    count_mask_values,
    decode_mask,
    encode_mask,
    mask_from_png,
    mask_to_png,
)

PALETTE = {0: (0, 0, 0), 1: (200, 30, 30), 2: (30, 200, 30), 3: (30, 30, 200)}

masks = npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=3, max_side=12), elements=st.integers(0, 255))
class_masks = npst.arrays(
    np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, 3, 255])
)


@settings(deadline=None)
@given(masks)
def test_a_mask_survives_the_canonical_form(mask: NDArray[np.uint8]) -> None:
    body = encode_mask(mask)
    assert np.array_equal(decode_mask(body, mask.shape), mask)
    assert gzip.decompress(body) == mask.tobytes()


def test_equal_masks_give_equal_bytes_whatever_their_memory_order() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert encode_mask(mask) == encode_mask(np.asfortranarray(mask))
    assert encode_mask(mask)[4:8] == bytes(4)  # no time stamp


def test_a_gzip_bomb_stops_one_byte_after_the_mask() -> None:
    bomb = gzip.compress(bytes(50_000_000), mtime=0)
    with pytest.raises((MaskLengthWrong, MaskTooLarge)):
        decode_mask(bomb, (8, 8))
    with pytest.raises(MaskLengthWrong) as refused:
        decode_mask(bomb, (300, 300))
    assert refused.value.found_bytes == 300 * 300 + 1


def test_a_mask_of_the_wrong_length_is_refused_with_both_lengths() -> None:
    for found in (11, 13):
        with pytest.raises(MaskLengthWrong) as refused:
            decode_mask(gzip.compress(bytes(found), mtime=0), (3, 4))
        assert (refused.value.expected_bytes, refused.value.found_bytes) == (12, found)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        gzip.compress(bytes(12), mtime=0)[:-3],
        gzip.compress(bytes(12), mtime=0) + b"more",
        gzip.compress(bytes(12), mtime=0) + gzip.compress(bytes(12), mtime=0),
        zlib.compress(bytes(12)),
        gzip.compress(bytes(12), mtime=0)[:-8] + bytes(8),
    ],
    ids=["nothing", "text", "cut", "trailing", "two members", "zlib", "wrong checksum"],
)
def test_what_is_no_single_sound_gzip_stream_is_refused(body: bytes) -> None:
    with pytest.raises(NotAMask):
        decode_mask(body, (3, 4))


def test_a_body_longer_than_any_mask_is_refused_unread() -> None:
    with pytest.raises(MaskTooLarge):
        decode_mask(bytes(5000), (3, 4))


def test_values_outside_the_schema_are_named() -> None:
    mask = np.array([[0, 1, 7], [9, 255, 1]], dtype=np.uint8)
    check_mask_values(mask, (0, 1, 7, 9))
    with pytest.raises(UnknownMaskValues, match=r"7, 9; allowed are 0, 1") as refused:
        check_mask_values(mask, (0, 1))
    assert refused.value.values == (7, 9)


def test_counts_are_per_value_in_order() -> None:
    mask = np.array([[255, 1, 1], [0, 255, 255]], dtype=np.uint8)
    assert list(count_mask_values(mask).items()) == [(0, 1), (1, 2), (255, 3)]


def test_a_mask_without_a_label_is_empty() -> None:
    mask = np.full((2, 2), UNLABELLED, dtype=np.uint8)
    with pytest.raises(EmptyMask):
        check_mask_labelled(mask)
    mask[0, 0] = 0
    check_mask_labelled(mask)


@settings(deadline=None)
@given(class_masks)
def test_a_mask_survives_an_indexed_png(mask: NDArray[np.uint8]) -> None:
    assert np.array_equal(mask_from_png(mask_to_png(mask, PALETTE), mask.shape, PALETTE), mask)


def test_the_png_shows_the_schema_s_colours() -> None:
    mask = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    with Image.open(io.BytesIO(mask_to_png(mask, PALETTE))) as image:
        assert image.mode == "P"
        pixels = np.array(image.convert("RGBA"))
    assert pixels[0, 1].tolist() == [200, 30, 30, 255]
    assert pixels[1, 0].tolist() == [30, 200, 30, 255]
    assert pixels[1, 1, 3] == 0


def _png(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG", **options)
    return out.getvalue()


def test_a_greyscale_png_is_read_by_value() -> None:
    mask = np.array([[0, 1, 2], [3, 255, 0]], dtype=np.uint8)
    assert np.array_equal(mask_from_png(_png(Image.fromarray(mask)), (2, 3), PALETTE), mask)
    with pytest.raises(UnknownMaskValues):
        mask_from_png(_png(Image.fromarray(mask + np.uint8(7))), (2, 3), PALETTE)


def test_a_palette_renumbered_on_saving_is_read_by_colour() -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8))
    image.putpalette([*PALETTE[3], *PALETTE[1]])
    assert mask_from_png(_png(image), (2, 2), PALETTE).tolist() == [[3, 1], [1, 3]]


def test_a_foreign_palette_is_read_by_index() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8))
    image.putpalette([1, 1, 1, 250, 0, 0, 0, 250, 0, 0, 0, 250])
    assert mask_from_png(_png(image, bits=2), (2, 2), PALETTE).tolist() == [[0, 1], [2, 3]]


def test_two_classes_of_one_colour_are_read_by_index() -> None:
    palette = {0: (0, 0, 0), 1: (9, 9, 9), 2: (9, 9, 9)}
    mask = np.array([[0, 1, 2]], dtype=np.uint8)
    assert np.array_equal(mask_from_png(mask_to_png(mask, palette), (1, 3), palette), mask)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_other_kinds_of_png_are_refused(mode: str) -> None:
    with pytest.raises(NotAPng, match="neither indexed nor 8-bit greyscale"):
        mask_from_png(_png(Image.new(mode, (3, 2))), (2, 3), PALETTE)


def test_a_png_of_another_size_is_refused_before_it_is_unpacked() -> None:
    body = bytearray(_png(Image.new("L", (3, 2))))
    body[16:24] = (60_000).to_bytes(4, "big") * 2  # claims 3.6 gigapixels
    with pytest.raises(ShapeMismatch) as refused:
        mask_from_png(bytes(body), (2, 3), PALETTE)
    assert refused.value.found == (60_000, 60_000)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_png_is_refused_and_never_crashes(data: st.DataObject) -> None:
    body = bytearray(mask_to_png(np.arange(64, dtype=np.uint8).reshape(8, 8) % 4, PALETTE))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    try:
        mask = mask_from_png(bytes(body[:cut]), (8, 8), PALETTE)
    except (NotAPng, ShapeMismatch, UnknownMaskValues):
        return
    assert mask.shape == (8, 8)
    check_mask_values(mask, PALETTE)
