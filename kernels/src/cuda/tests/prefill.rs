//! Attention of many rows of a sequence, over paged keys and values.

use std::ops::Range;

use super::cache::{cached, rounded_to_fp8};
use super::*;
use crate::reference::attention;

const SCALE: f32 = 0.2;

#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    softcap: Option<f32>,
}

/// A sequence in a cache whose blocks are dealt out at random; slots of no position are NaN.
#[derive(Clone)]
struct Sequence {
    shape: Shape,
    kv_type: KvType,
    len: usize,
    table: Vec<u32>,
    queries: Vec<u16>,
    keys: Vec<u16>,
    values: Vec<u16>,
}

impl Sequence {
    fn new(random: &mut Random, shape: Shape, len: usize) -> Self {
        let Shape { heads, kv_heads, head_dim, .. } = shape;
        let blocks = len.div_ceil(16) + 2;
        let mut free: Vec<u32> = (0..blocks as u32).collect();
        let table = (0..len.div_ceil(16))
            .map(|_| free.swap_remove(random.next() as usize % free.len()))
            .collect();
        let size = blocks * kv_heads * 16 * head_dim;
        let queries = rounded(&random.normal(len * heads * head_dim)).0;
        let (keys, values) = (vec![0xFFFF; size], vec![0xFFFF; size]);
        let kv_type = KvType::Bf16;
        let mut sequence = Sequence { shape, kv_type, len, table, queries, keys, values };
        for (position, kv_head) in (0..len).flat_map(|at| (0..kv_heads).map(move |head| (at, head)))
        {
            let place = sequence.place(position, kv_head);
            let [key, value] = [0, 1].map(|_| rounded(&random.normal(head_dim)).0);
            sequence.keys[place..place + head_dim].copy_from_slice(&key);
            sequence.values[place..place + head_dim].copy_from_slice(&value);
        }
        sequence
    }

    fn place(&self, position: usize, kv_head: usize) -> usize {
        let block = self.table[position / 16] as usize;
        ((block * self.shape.kv_heads + kv_head) * 16 + position % 16) * self.shape.head_dim
    }

    /// The rows at these positions, after `before` rows that are nobody's.
    fn run(&self, gpu: &dyn Gpu, positions: Range<usize>, before: usize) -> Vec<f32> {
        let Shape { heads, kv_heads, head_dim, window, softcap } = self.shape;
        let (size, rows) = (heads * head_dim, before + positions.len());
        // As on a GPU in the middle of a prompt: later positions have not been written.
        let known = |cache: &[u16]| {
            let mut known = vec![0xFFFF; cache.len()];
            for (at, head) in (0..positions.end).flat_map(|at| (0..kv_heads).map(move |h| (at, h)))
            {
                let place = self.place(at, head)..self.place(at, head) + head_dim;
                known[place.clone()].copy_from_slice(&cache[place]);
            }
            known
        };
        let mut queries = vec![0xFFFF; before * size];
        queries.extend(&self.queries[positions.start * size..positions.end * size]);
        let mut numbers = vec![u32::MAX; before];
        numbers.extend(positions.clone().map(|position| position as u32));
        let mut tiles = Vec::new();
        list_tiles(before..rows, heads / kv_heads, &mut tiles);
        let upload = |values: &[u32]| Buffer::from_slice(gpu, values).unwrap();
        let (positions, tiles) = (upload(&numbers), upload(&tiles));
        // The table is not the first one.
        let starts = upload(&[vec![u32::MAX; before], vec![3; rows - before]].concat());
        let tables = upload(&[&[u32::MAX; 3], &self.table[..]].concat());
        let queries = Buffer::from_slice(gpu, &queries).unwrap();
        let cached = |values: &[u16]| cached(gpu, self.kv_type, &known(values), head_dim);
        let (keys, values) = (cached(&self.keys), cached(&self.values));
        let stride = size.next_multiple_of(GROUP);
        let mut out = poisoned(gpu, rows * stride);
        Prefill {
            queries: queries.view(),
            keys: keys.view(),
            values: values.view(),
            // SAFETY: the table has a block for each position of the tiles' rows, below the number
            // of blocks; slots are not read.
            rows: unsafe {
                let places = [&positions, &positions, &starts, &tables];
                let blocks = self.keys.len() / (kv_heads * 16 * head_dim);
                StepRows::new(places.map(Buffer::view), blocks, 1 << 20)
            },
            // SAFETY: these are one sequence's rows, at positions one after the other.
            tiles: unsafe { PrefillTiles::new(tiles.view()) },
            heads,
            kv_heads,
            head_dim,
            window,
            scale: SCALE,
            softcap,
            out: out.view_mut(),
            out_stride: stride,
        }
        .run(gpu)
        .unwrap();
        let bits = read(gpu, &out);
        let untouched: Vec<u16> = read(gpu, &poisoned(gpu, before * stride));
        assert_eq!(bits[..before * stride], untouched[..], "rows that are in no tile");
        let out = widened(&bits[before * stride..]);
        out.chunks_exact(stride).flat_map(|row| row[..size].to_vec()).collect()
    }

    fn right(&self, position: usize) -> Vec<f32> {
        let Shape { heads, kv_heads, head_dim, window, softcap } = self.shape;
        let from = window.map_or(0, |window| (position + 1).saturating_sub(window));
        let mut out = vec![0.0; heads * head_dim];
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let gather = |cache: &[u16]| -> Vec<f32> {
                (from..=position)
                    .map(|at| self.place(at, head / (heads / kv_heads)))
                    .flat_map(|place| widened(&cache[place..place + head_dim]))
                    .collect()
            };
            let query = widened(&self.queries[(position * heads + head) * head_dim..][..head_dim]);
            let (keys, values) = (gather(&self.keys), gather(&self.values));
            attention(&query, &keys, &values, SCALE, softcap, out);
        }
        out
    }

    /// The whole in one launch is right, and parts of it are the same bits; as bf16, and as fp8.
    fn check(&self, cuts: &[usize]) {
        self.check_stored(cuts);
        let [keys, values] =
            [&self.keys, &self.values].map(|values| rounded_to_fp8(values, self.shape.head_dim));
        Sequence { kv_type: KvType::Fp8, keys, values, ..self.clone() }.check_stored(cuts);
    }

    fn check_stored(&self, cuts: &[usize]) {
        let whole = on_devices(|gpu| self.run(gpu, 0..self.len, 0));
        let size = self.shape.heads * self.shape.head_dim;
        for (position, found) in whole.chunks_exact(size).enumerate() {
            // Weights and the result are rounded to bf16.
            assert_close(found, &self.right(position), 6e-3);
        }
        for cut in cuts {
            let first = on_devices(|gpu| self.run(gpu, 0..*cut, 2));
            assert_eq!(bits(&first), bits(&whole[..cut * size]), "up to {cut}");
            let second = on_devices(|gpu| self.run(gpu, *cut..self.len, 5));
            assert_eq!(bits(&second), bits(&whole[cut * size..]), "from {cut}");
        }
    }
}

#[test]
fn tiles_of_rows_cover_them_once() {
    for (rows, group) in [(0..1, 1), (3..67, 1), (5..70, 3), (0..64, 8), (1..40, 7)] {
        let mut tiles = Vec::new();
        list_tiles(rows.clone(), group, &mut tiles);
        let covered: Vec<u32> =
            tiles.chunks(2).flat_map(|tile| tile[0]..tile[0] + tile[1]).collect();
        assert_eq!(covered, (rows.start as u32..rows.end as u32).collect::<Vec<_>>());
        assert!(tiles.chunks(2).all(|tile| tile[1] as usize * group <= 64));
    }
}

#[test]
fn one_row_block_edges_and_several_tiles() {
    let mut random = Random::new(61);
    let shape = Shape { heads: 2, kv_heads: 1, head_dim: 64, window: None, softcap: None };
    for len in [1, 15, 16, 17, 33] {
        Sequence::new(&mut random, shape, len).check(&[]);
    }
    Sequence::new(&mut random, shape, 90).check(&[1, 31, 64]);
}

#[test]
fn groups_that_fill_no_tile() {
    let mut random = Random::new(62);
    for (heads, kv_heads) in [(1, 1), (3, 1), (6, 2), (7, 1), (8, 1)] {
        let shape = Shape { heads, kv_heads, head_dim: 64, window: None, softcap: None };
        Sequence::new(&mut random, shape, 38).check(&[21]);
    }
}

#[test]
fn windows_and_caps_of_prompts() {
    let mut random = Random::new(63);
    for window in [1, 5, 16, 70] {
        let shape =
            Shape { heads: 2, kv_heads: 2, head_dim: 64, window: Some(window), softcap: Some(2.5) };
        Sequence::new(&mut random, shape, 150).check(&[77]);
    }
}

#[test]
fn wide_heads_of_prompts() {
    let mut random = Random::new(64);
    for (heads, kv_heads, head_dim) in [(4, 1, 128), (2, 1, 256)] {
        let shape = Shape { heads, kv_heads, head_dim, window: None, softcap: None };
        Sequence::new(&mut random, shape, 70).check(&[40]);
    }
}

#[test]
fn a_score_far_above_those_before() {
    let mut random = Random::new(65);
    let shape = Shape { heads: 1, kv_heads: 1, head_dim: 64, window: None, softcap: None };
    let mut sequence = Sequence::new(&mut random, shape, 140);
    // Its key outweighs all others by far, in the second chunk.
    let place = sequence.place(70, 0);
    let query = widened(&sequence.queries[120 * 64..121 * 64]);
    let key: Vec<f32> = query.iter().map(|q| q * 30.0).collect();
    sequence.keys[place..place + 64].copy_from_slice(&rounded(&key).0);
    sequence.check(&[71]);
}
