//! Keys and values of a layer, as one of two types (`cache.cuh`).

use crate::cuda::memory::{Buffer, Gpu, GpuError, View, ViewMut};

/// Positions in a block.
pub(super) const BLOCK_POSITIONS: usize = 16;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// As bf16.
    #[default]
    Bf16,
    /// As bytes, e3m4, with a power of two for each position and head. A value is off by up to one
    /// part in 32 of its own, or, if that is more, in 1,900 of the largest of its head.
    Fp8,
}

impl KvType {
    /// Bytes of the keys, or of the values, of one layer and position.
    pub fn position_bytes(self, kv_heads: usize, head_dim: usize) -> usize {
        match self {
            KvType::Bf16 => 2 * kv_heads * head_dim,
            KvType::Fp8 => kv_heads * (head_dim + 1),
        }
    }
}

/// The keys or the values of a layer.
#[derive(Debug)]
pub enum KvBuffer {
    /// `[blocks][kv_heads][16][head_dim]`
    Bf16(Buffer<u16>),
    /// The same values as bytes, of each four the second and the third interchanged, and
    /// `[blocks][kv_heads][16]` exponents of powers of two.
    Fp8 {
        /// e3m4.
        codes: Buffer<u8>,
        /// With a bias of 127; 255 if not all of the head's values are numbers.
        exponents: Buffer<u8>,
    },
}

impl KvBuffer {
    /// Zeros.
    pub fn zeros(
        gpu: &dyn Gpu,
        kv_type: KvType,
        blocks: usize,
        [kv_heads, head_dim]: [usize; 2],
    ) -> Result<Self, GpuError> {
        let heads = blocks * BLOCK_POSITIONS * kv_heads;
        Ok(match kv_type {
            KvType::Bf16 => KvBuffer::Bf16(Buffer::zeros(gpu, heads * head_dim)?),
            KvType::Fp8 => KvBuffer::Fp8 {
                codes: Buffer::zeros(gpu, heads * head_dim)?,
                exponents: Buffer::zeros(gpu, heads)?,
            },
        })
    }

    /// All of it, to read.
    pub fn view(&self) -> KvView<'_> {
        match self {
            KvBuffer::Bf16(values) => KvView::Bf16(values.view()),
            KvBuffer::Fp8 { codes, exponents } => {
                KvView::Fp8 { codes: codes.view(), exponents: exponents.view() }
            }
        }
    }

    /// All of it, to write.
    pub fn view_mut(&mut self) -> KvViewMut<'_> {
        match self {
            KvBuffer::Bf16(values) => KvViewMut::Bf16(values.view_mut()),
            KvBuffer::Fp8 { codes, exponents } => {
                KvViewMut::Fp8 { codes: codes.view_mut(), exponents: exponents.view_mut() }
            }
        }
    }
}

/// The keys or the values of a layer, to read.
#[derive(Clone, Copy, Debug)]
pub enum KvView<'a> {
    /// As [`KvBuffer::Bf16`].
    Bf16(View<'a, u16>),
    /// As [`KvBuffer::Fp8`].
    Fp8 {
        /// e3m4.
        codes: View<'a, u8>,
        /// One for each position and head.
        exponents: View<'a, u8>,
    },
}

/// The keys or the values of a layer, to write.
#[derive(Debug)]
pub enum KvViewMut<'a> {
    /// As [`KvBuffer::Bf16`].
    Bf16(ViewMut<'a, u16>),
    /// As [`KvBuffer::Fp8`].
    Fp8 {
        /// e3m4.
        codes: ViewMut<'a, u8>,
        /// One for each position and head.
        exponents: ViewMut<'a, u8>,
    },
}

/// What kernels are told of a layer's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cache {
    pub(super) kv_type: KvType,
    pub(super) keys: u64,
    pub(super) values: u64,
    /// 0 if there are none.
    pub(super) key_exponents: u64,
    pub(super) value_exponents: u64,
}

impl Cache {
    /// # Panics
    /// If keys and values are of two types, or not of so many blocks.
    pub(super) fn of_views(
        [keys, values]: [KvView<'_>; 2],
        blocks: usize,
        [kv_heads, head_dim]: [usize; 2],
    ) -> Self {
        let heads = blocks * BLOCK_POSITIONS * kv_heads;
        let check = |len: usize, exponents: usize| {
            assert!(len >= heads * head_dim && exponents >= heads, "{blocks} blocks");
        };
        let of = |view: KvView<'_>| match view {
            KvView::Bf16(view) => {
                check(view.len, heads);
                (KvType::Bf16, view.address, 0)
            }
            KvView::Fp8 { codes, exponents } => {
                assert!(head_dim.is_multiple_of(4), "values in fours");
                check(codes.len, exponents.len);
                (KvType::Fp8, codes.address, exponents.address)
            }
        };
        let (kv_type, keys, key_exponents) = of(keys);
        let (values_type, values, value_exponents) = of(values);
        assert_eq!(kv_type, values_type, "keys and values of one type");
        Self { kv_type, keys, values, key_exponents, value_exponents }
    }
}

impl KvViewMut<'_> {
    /// To read the same.
    pub(super) fn as_view(&self) -> KvView<'_> {
        match self {
            KvViewMut::Bf16(values) => KvView::Bf16(values.as_view()),
            KvViewMut::Fp8 { codes, exponents } => {
                KvView::Fp8 { codes: codes.as_view(), exponents: exponents.as_view() }
            }
        }
    }
}
