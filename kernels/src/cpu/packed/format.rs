//! What a type must say about itself: its planes, how they are packed, and its product.

use super::{GROUP, blocks32, dense, q4_k, q5_k, q6_k};
use crate::DType;
use crate::cpu::activations::ActivationRows;
use crate::cpu::simd::Groups;

/// How one type is laid out and multiplied.
pub(crate) trait Format {
    /// A block (or, for dense types, one) of the activations it multiplies.
    type Input: Copy;
    const DTYPE: DType;
    /// Bytes that a block of all eight rows takes in each plane.
    const PLANES: [usize; 4];

    /// Takes the same block of the eight rows of a group apart.
    fn pack(rows: [&[u8]; GROUP], planes: [&mut [u8]; 4]);

    /// Puts the block of one row together again.
    fn unpack(planes: [&[u8]; 4], row: usize, block: &mut [u8]);

    /// In the lane of each row of `G` groups: `result[m] = sum over k of row [k] * x[m][k]`.
    ///
    /// `planes[i]` are those of each group. The order of the sum is that of
    /// [`crate::reference::quantized_dot`] whatever `G` and `M` are. `next` are the bytes of the
    /// next groups, which are fetched from memory meanwhile: planes are too short for the CPU to
    /// foresee where the next one starts.
    fn product<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        planes: [[&[u8]; G]; 4],
        next: &[u8],
        x: [&[Self::Input]; M],
    ) -> [S::F; M];
}

/// Runs `$body` with `$format` standing for the [`Format`] of `$dtype`.
macro_rules! with_format {
    ($dtype:expr, $format:ident => $body:expr) => {{
        use $crate::DType;
        use $crate::cpu::packed::{
            blocks32, dense, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0,
        };
        match $dtype {
            DType::F32 => {
                type $format = dense::F32;
                $body
            }
            DType::F16 => {
                type $format = dense::F16;
                $body
            }
            DType::BF16 => {
                type $format = dense::BF16;
                $body
            }
            DType::Q4_0 => {
                type $format = blocks32::Of<q4_0::Q4_0>;
                $body
            }
            DType::Q4_1 => {
                type $format = blocks32::Of<q4_1::Q4_1>;
                $body
            }
            DType::Q5_0 => {
                type $format = blocks32::Of<q5_0::Q5_0>;
                $body
            }
            DType::Q5_1 => {
                type $format = blocks32::Of<q5_1::Q5_1>;
                $body
            }
            DType::Q8_0 => {
                type $format = blocks32::Of<q8_0::Q8_0>;
                $body
            }
            DType::Q4_K => {
                type $format = q4_k::Q4K;
                $body
            }
            DType::Q5_K => {
                type $format = q5_k::Q5K;
                $body
            }
            DType::Q6_K => {
                type $format = q6_k::Q6K;
                $body
            }
            DType::Q2_K | DType::Q3_K => unreachable!("packed as another type"),
        }
    }};
}
pub(super) use with_format;

/// The activations of a format among all kinds.
pub(super) trait Input: Format {
    fn of<'a>(x: &ActivationRows<'a>) -> &'a [Self::Input];
}

impl<T: blocks32::Codes> Input for blocks32::Of<T> {
    fn of<'a>(x: &ActivationRows<'a>) -> &'a [Self::Input] {
        x.block32
    }
}

macro_rules! inputs {
    ($($format:ty: $field:ident),*) => {$(
        impl Input for $format {
            fn of<'a>(x: &ActivationRows<'a>) -> &'a [Self::Input] {
                x.$field
            }
        }
    )*};
}

inputs!(
    dense::F32: float, dense::F16: float, dense::BF16: float,
    q4_k::Q4K: block256, q5_k::Q5K: block256, q6_k::Q6K: block256
);

/// The planes of a group.
pub(super) fn split<T: Format>(group: &[u8]) -> [&[u8]; 4] {
    let blocks = group.len() / T::PLANES.iter().sum::<usize>();
    let mut rest = group;
    T::PLANES.map(|bytes| {
        let (plane, after) = rest.split_at(bytes * blocks);
        rest = after;
        plane
    })
}

/// Fetches as much of the next groups as block `b` of `G` of them takes.
#[inline(always)]
pub(super) fn prefetch<const G: usize, S: Groups<G>, T: Format>(s: S, next: &[u8], b: usize) {
    let bytes = const { G * (T::PLANES[0] + T::PLANES[1] + T::PLANES[2] + T::PLANES[3]) };
    if let Some(block) = next.get(b * bytes..(b + 1) * bytes) {
        s.prefetch(block);
    }
}

/// One block's part of each plane.
pub(super) fn block_of<T: Format>(planes: [&[u8]; 4], block: usize) -> [&[u8]; 4] {
    std::array::from_fn(|i| &planes[i][block * T::PLANES[i]..(block + 1) * T::PLANES[i]])
}

/// A plane of each group in vectors of `N` bytes.
#[inline(always)]
pub(super) fn vectors<const N: usize, const G: usize>(plane: [&[u8]; G]) -> [&[[u8; N]]; G] {
    plane.map(|plane| plane.as_chunks().0)
}

/// Number `i` in each group.
#[inline(always)]
pub(super) fn each<T, const G: usize>(groups: [&[T]; G], i: usize) -> [&T; G] {
    groups.map(|group| &group[i])
}

/// Puts the 4-byte words `word(row, i)`, i in `0..words`, side by side: lane after lane.
pub(super) fn interleave(plane: &mut [u8], word: impl Fn(usize, usize) -> [u8; 4]) {
    for (i, lanes) in plane.as_chunks_mut::<4>().0.chunks_exact_mut(GROUP).enumerate() {
        for (row, lane) in lanes.iter_mut().enumerate() {
            *lane = word(row, i);
        }
    }
}

/// Four bytes at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

/// The word of `row` in vector `i` of a plane.
pub(super) fn lane(plane: &[u8], row: usize, i: usize) -> [u8; 4] {
    word(plane, (i * GROUP + row) * 4)
}
