//! Attention against a plain softmax, and against itself in other compositions.

use super::*;
use crate::cpu::steps::Cpu;
use crate::cpu::testing::Random;
use crate::cpu::{Isa, KvCache, KvShape};
use crate::reference;
use half::f16;

const HEAD_DIM: usize = 24; // Not a multiple of 16: the cache fills it up.
const BLOCKS: usize = 64;

/// Keys and values of sequences, in a cache and plain.
struct World {
    cache: KvCache,
    tables: Vec<u32>,
    sequences: Vec<AttentionSequence>,
    /// Of each sequence: `[context_len, kv_heads, HEAD_DIM]`.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    queries: Vec<f32>,
    heads: usize,
}

/// Sequences of `(rows in the step, context length)`.
fn world(lengths: &[(usize, usize)], heads: usize, kv_heads: usize) -> World {
    let mut random = Random::new(9);
    let shape = KvShape { layers: 2, blocks: BLOCKS, heads: kv_heads, head_dim: HEAD_DIM };
    let mut cache = KvCache::new(shape).unwrap();
    let (mut tables, mut sequences, mut rows) = (Vec::new(), Vec::new(), 0);
    let (mut all_keys, mut all_values) = (Vec::new(), Vec::new());
    for (count, context_len) in lengths.iter().copied() {
        let first = tables.len();
        // Blocks in a scattered order; 37 and the number of blocks have no common divisor.
        for _ in 0..context_len.div_ceil(BLOCK_POSITIONS) {
            tables.push((tables.len() * 37 % BLOCKS) as u32);
        }
        let slot = |p: usize| tables[first + p / 16] * 16 + (p % 16) as u32;
        let slots: Vec<u32> = (0..context_len).map(slot).collect();
        let rounded = |random: &mut Random| -> Vec<f32> {
            let halves = random.halves(context_len * kv_heads * HEAD_DIM);
            halves.into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect()
        };
        let (keys, values) = (rounded(&mut random), rounded(&mut random));
        let writer = cache.writer(1, &slots);
        let heads_of = |all: &[f32]| all.chunks_exact(HEAD_DIM).map(<[f32]>::to_vec).collect();
        let (k, v): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (heads_of(&keys), heads_of(&values));
        for (i, (k, v)) in k.iter().zip(&v).enumerate() {
            // SAFETY: one thread.
            unsafe {
                writer.write_key(Isa::detect(), i / kv_heads, i % kv_heads, k);
                writer.write_value(Isa::detect(), i / kv_heads, i % kv_heads, v);
            }
        }
        let blocks = first..tables.len();
        sequences.push(AttentionSequence { rows: rows..rows + count, blocks, context_len });
        rows += count;
        all_keys.push(keys);
        all_values.push(values);
    }
    assert!(tables.len() <= BLOCKS, "every block has one owner");
    let queries = random.normal(rows * heads * HEAD_DIM);
    World { cache, tables, sequences, keys: all_keys, values: all_values, queries, heads }
}

impl World {
    fn run(
        &self,
        isa: Isa,
        threads: usize,
        softcap: Option<f32>,
        window: Option<usize>,
    ) -> Vec<f32> {
        let mut cpu = Cpu::new(threads, isa, 64).unwrap();
        let mut scratch = AttentionScratch::new(&cpu, &self.cache, self.heads, 16);
        let mut out = vec![f32::NAN; self.queries.len()];
        Attention {
            queries: &self.queries,
            cache: &self.cache,
            layer: 1,
            heads: self.heads,
            sequences: &self.sequences,
            block_tables: &self.tables,
            scale: 0.3,
            softcap,
            window,
            scratch: &mut scratch,
            out: &mut out,
        }
        .run(&mut cpu);
        out
    }

    fn plain(&self, softcap: Option<f32>, window: Option<usize>) -> Vec<f32> {
        let kv_heads = self.cache.shape().heads;
        let mut out = vec![0.0; self.queries.len()];
        for (s, sequence) in self.sequences.iter().enumerate() {
            for row in sequence.rows.clone() {
                let position = sequence.context_len - (sequence.rows.end - row);
                let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
                for head in 0..self.heads {
                    let kv_head = head / (self.heads / kv_heads);
                    let gather = |all: &[f32]| -> Vec<f32> {
                        let rows = all.chunks_exact(kv_heads * HEAD_DIM);
                        let visible = rows.skip(first).take(position + 1 - first);
                        let one = kv_head * HEAD_DIM..(kv_head + 1) * HEAD_DIM;
                        visible.flat_map(|row| row[one.clone()].to_vec()).collect()
                    };
                    let at = (row * self.heads + head) * HEAD_DIM;
                    let place = at..at + HEAD_DIM;
                    let (keys, values) = (gather(&self.keys[s]), gather(&self.values[s]));
                    let query = &self.queries[place.clone()];
                    let out = &mut out[place];
                    reference::attention(query, &keys, &values, 0.3, softcap, out);
                }
            }
        }
        out
    }
}

fn check(lengths: &[(usize, usize)], heads: usize, kv_heads: usize) {
    let world = world(lengths, heads, kv_heads);
    let options = [(None, None), (Some(2.0), None), (None, Some(5)), (Some(2.0), Some(140))];
    for (softcap, window) in options {
        let expected = world.plain(softcap, window);
        let alone = world.run(Isa::detect(), 1, softcap, window);
        for (found, expected) in alone.iter().zip(&expected) {
            let error = (found - expected).abs();
            assert!(error <= 1e-5, "{lengths:?} {heads}/{kv_heads}: {found} {expected}");
        }
        for isa in Isa::available() {
            assert_eq!(alone, world.run(isa, 1, softcap, window), "{isa:?}");
        }
        // Two share out items; of three, when there are few items, partitions.
        for threads in [2, 3] {
            let found = world.run(Isa::detect(), threads, softcap, window);
            assert_eq!(alone, found, "{threads} threads");
        }
    }
}

#[test]
fn around_the_size_of_a_block() {
    for context_len in [1, 15, 16, 17] {
        check(&[(1, context_len)], 4, 2);
        check(&[(context_len, context_len)], 4, 2);
    }
}

#[test]
fn around_the_size_of_a_partition() {
    for context_len in [127, 128, 129, 400] {
        check(&[(1, context_len)], 2, 1);
        check(&[(3, context_len)], 2, 1);
    }
}

#[test]
fn heads_that_share_keys() {
    for (heads, kv_heads) in [(1, 1), (3, 1), (4, 4), (6, 2), (14, 2), (5, 1)] {
        check(&[(1, 20), (5, 150), (2, 2)], heads, kv_heads);
    }
}

#[test]
fn a_row_does_not_depend_on_the_step() {
    // The same cache; all rows in one step, and each by itself.
    let together = world(&[(7, 300), (1, 129), (20, 20)], 6, 2);
    let expected = together.run(Isa::detect(), 2, None, None);
    for sequence in &together.sequences {
        for row in sequence.rows.clone() {
            let mut alone = world(&[(7, 300), (1, 129), (20, 20)], 6, 2);
            let place = row * 6 * HEAD_DIM..(row + 1) * 6 * HEAD_DIM;
            alone.queries = together.queries[place.clone()].to_vec();
            let context_len = sequence.context_len - (sequence.rows.end - row) + 1;
            let blocks = sequence.blocks.clone();
            alone.sequences = vec![AttentionSequence { rows: 0..1, blocks, context_len }];
            for threads in [1, 3] {
                let found = alone.run(Isa::detect(), threads, None, None);
                assert_eq!(found, expected[place.clone()], "row {row} with {threads} threads");
            }
        }
    }
}
