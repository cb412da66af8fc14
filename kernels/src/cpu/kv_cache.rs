//! Keys and values of all positions, as IEEE halves, in blocks of 16 positions.
//!
//! A block of one layer and head holds its keys transposed, `[head_dim][16]`, so that the scores of
//! 16 positions are built up in two vectors without horizontal sums, and its values as
//! `[16][head_dim]`. The head dimension is filled up to a multiple of 16 with zeros.

use super::arena::{Arena, Part, part_bytes};
use super::shared::Shared;
use super::simd::{Isa, Simd, Task};
use std::ops::Range;

/// Positions in a block.
pub const BLOCK_POSITIONS: usize = 16;

/// The sizes of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Layers, each with its own keys and values.
    pub layers: usize,
    /// Blocks; a block id is valid in all layers.
    pub blocks: usize,
    /// Key and value heads.
    pub heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}

impl KvShape {
    /// Values in a head with the filling.
    pub(crate) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    /// Numbers in one head of one block, keys or values.
    fn tile(&self) -> usize {
        self.padded_dim() * BLOCK_POSITIONS
    }
}

/// The keys and values of every layer.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    /// Keys and values of each layer, `[blocks][heads][tile]` each.
    layers: Vec<(Part, Part)>,
    /// One bit for each slot: see [`KvCache::claim`].
    claimed: Vec<u64>,
}

impl KvCache {
    /// A cache of zeros.
    ///
    /// # Errors
    /// If the system has not that much memory.
    pub fn new(shape: KvShape) -> std::io::Result<Self> {
        let too_large = || std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let sizes = [shape.blocks, shape.heads, shape.tile(), 2];
        let bytes = sizes.into_iter().try_fold(1_usize, |bytes, size| bytes.checked_mul(size));
        let bytes = bytes.ok_or_else(too_large)?;
        let total = part_bytes(bytes).checked_mul(2 * shape.layers).ok_or_else(too_large)?;
        let mut arena = Arena::new(total)?;
        let mut part = || arena.part(bytes).ok_or_else(too_large);
        let layers = (0..shape.layers)
            .map(|_| Ok((part()?, part()?)))
            .collect::<std::io::Result<Vec<_>>>()?;
        let claimed = vec![0; (shape.blocks * BLOCK_POSITIONS).div_ceil(64)];
        Ok(KvCache { shape, layers, claimed })
    }

    /// The sizes it was made with.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Asserts that `slots` are all inside and different, so that threads may write them at once.
    fn claim(&mut self, slots: &[u32]) {
        for slot in slots.iter().map(|slot| *slot as usize) {
            assert!(slot < self.shape.blocks * BLOCK_POSITIONS, "slot {slot} is in no block");
            let bit = 1 << (slot % 64);
            assert_eq!(self.claimed[slot / 64] & bit, 0, "slot {slot} is written twice");
            self.claimed[slot / 64] |= bit;
        }
        for slot in slots {
            self.claimed[*slot as usize / 64] = 0;
        }
    }

    /// For writing `slots` of a layer from several threads: row `i` of the step goes to `slots[i]`.
    pub(crate) fn writer<'a>(&'a mut self, layer: usize, slots: &'a [u32]) -> KvWriter<'a> {
        self.claim(slots);
        let (keys, values) = &mut self.layers[layer];
        KvWriter {
            shape: self.shape,
            slots,
            keys: Shared::new(keys.as_u16_mut()),
            values: Shared::new(values.as_u16_mut()),
        }
    }

    /// A layer for reading.
    pub(crate) fn layer(&self, layer: usize) -> KvLayer<'_> {
        let (keys, values) = &self.layers[layer];
        KvLayer { shape: self.shape, keys: keys.as_u16(), values: values.as_u16() }
    }
}

/// One layer's slots for this step; all different.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvWriter<'a> {
    shape: KvShape,
    slots: &'a [u32],
    keys: Shared<'a, u16>,
    values: Shared<'a, u16>,
}

impl KvWriter<'_> {
    fn tile(&self, row: usize, head: usize) -> (usize, usize) {
        let slot = self.slots[row] as usize;
        let block = slot / BLOCK_POSITIONS;
        ((block * self.shape.heads + head) * self.shape.tile(), slot % BLOCK_POSITIONS)
    }

    /// Writes the key of one head of a row of this step.
    ///
    /// # Safety
    /// No other thread has this row and head.
    pub(crate) unsafe fn write_key(&self, isa: Isa, row: usize, head: usize, key: &[f32]) {
        assert_eq!(key.len(), self.shape.head_dim, "a key is as long as a head");
        let (tile, position) = self.tile(row, head);
        for (d, key) in key.chunks(8).enumerate() {
            let mut halves = [0; 8];
            isa.run(Narrow { from: key, to: &mut halves });
            for (i, half) in halves[..key.len()].iter().enumerate() {
                let at = tile + (8 * d + i) * BLOCK_POSITIONS + position;
                // SAFETY: the slot is this row's alone, and the caller has this head of it.
                unsafe { self.keys.write(at, *half) };
            }
        }
    }

    /// Writes the value of one head of a row of this step.
    ///
    /// # Safety
    /// No other thread has this row and head.
    pub(crate) unsafe fn write_value(&self, isa: Isa, row: usize, head: usize, value: &[f32]) {
        assert_eq!(value.len(), self.shape.head_dim, "a value is as long as a head");
        let (tile, position) = self.tile(row, head);
        let at = tile + position * self.shape.padded_dim();
        // SAFETY: the slot is this row's alone, and the caller has this head of it.
        let to = unsafe { self.values.slice(at..at + value.len()) };
        isa.run(Narrow { from: value, to });
    }
}

/// One layer's keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvLayer<'a> {
    pub(crate) shape: KvShape,
    keys: &'a [u16],
    values: &'a [u16],
}

impl<'a> KvLayer<'a> {
    fn range(&self, block: u32, head: usize) -> Range<usize> {
        let tile = self.shape.tile();
        let at = (block as usize * self.shape.heads + head) * tile;
        at..at + tile
    }

    /// `[padded_dim][16]`, each in two vectors.
    #[inline(always)]
    pub(crate) fn keys(&self, block: u32, head: usize) -> &'a [[[u16; 8]; 2]] {
        self.keys[self.range(block, head)].as_chunks::<8>().0.as_chunks::<2>().0
    }

    /// `[16][padded_dim]`, in pairs of vectors.
    #[inline(always)]
    pub(crate) fn values(&self, block: u32, head: usize) -> &'a [[[u16; 8]; 2]] {
        self.values[self.range(block, head)].as_chunks::<8>().0.as_chunks::<2>().0
    }
}

/// f32 to halves.
struct Narrow<'a> {
    from: &'a [f32],
    to: &'a mut [u16],
}

impl Task for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ((from, from_tail), (to, to_tail)) =
            (self.from.as_chunks::<8>(), self.to.as_chunks_mut::<8>());
        for (from, to) in from.iter().zip(to) {
            s.store_f16(s.load(from), to);
        }
        if !from_tail.is_empty() {
            let (mut wide, mut narrow) = ([0.0; 8], [0; 8]);
            wide[..from_tail.len()].copy_from_slice(from_tail);
            s.store_f16(s.load(&wide), &mut narrow);
            for (to, half) in to_tail.iter_mut().zip(narrow).take(from_tail.len()) {
                *to = half;
            }
        }
    }
}
