//! Attention over paged keys and values, one row after the other.

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

/// Rows at positions, each over a sequence of its own in a cache whose blocks are dealt out at
/// random; slots that no position uses are NaN.
#[derive(Clone)]
struct Case {
    shape: Shape,
    kv_type: KvType,
    positions: Vec<u32>,
    table_starts: Vec<u32>,
    block_tables: Vec<u32>,
    blocks: usize,
    queries: Vec<u16>,
    keys: Vec<u16>,
    values: Vec<u16>,
}

impl Case {
    fn new(random: &mut Random, shape: Shape, positions: &[u32]) -> Self {
        let Shape { heads, kv_heads, head_dim, .. } = shape;
        let counts = positions.iter().map(|position| position / 16 + 1);
        let blocks = counts.clone().sum::<u32>() + 2;
        let mut free: Vec<u32> = (0..blocks).collect();
        let (mut table_starts, mut block_tables) = (Vec::new(), Vec::new());
        for count in counts {
            table_starts.push(block_tables.len() as u32);
            for _ in 0..count {
                block_tables.push(free.swap_remove(random.next() as usize % free.len()));
            }
        }
        let blocks = blocks as usize;
        let len = blocks * kv_heads * 16 * head_dim;
        let mut case = Case {
            kv_type: KvType::Bf16,
            positions: positions.to_vec(),
            table_starts,
            block_tables,
            blocks,
            queries: rounded(&random.normal(positions.len() * heads * head_dim)).0,
            keys: vec![0xFFFF; len],
            values: vec![0xFFFF; len],
            shape,
        };
        for (row, position) in positions.iter().enumerate() {
            for at in 0..=*position as usize {
                for kv_head in 0..kv_heads {
                    let place = case.place(row, at, kv_head);
                    let [key, value] = [0, 1].map(|_| rounded(&random.normal(head_dim)).0);
                    case.keys[place..place + head_dim].copy_from_slice(&key);
                    case.values[place..place + head_dim].copy_from_slice(&value);
                }
            }
        }
        case
    }

    fn place(&self, row: usize, position: usize, kv_head: usize) -> usize {
        let Shape { kv_heads, head_dim, .. } = self.shape;
        let table = self.table_starts[row] as usize;
        let block = self.block_tables[table + position / 16] as usize;
        ((block * kv_heads + kv_head) * 16 + position % 16) * head_dim
    }

    /// Only these rows, as a launch of their own.
    fn run(&self, gpu: &dyn Gpu, rows: &[usize]) -> Vec<f32> {
        let Shape { heads, kv_heads, head_dim, window, softcap } = self.shape;
        let pick = |of: &[u32]| -> Vec<u32> { rows.iter().map(|row| of[*row]).collect() };
        let size = heads * head_dim;
        let queries: Vec<u16> =
            rows.iter().flat_map(|row| self.queries[row * size..][..size].to_vec()).collect();
        let positions = pick(&self.positions);
        let mut items = Vec::new();
        for (row, position) in positions.iter().enumerate() {
            list_items(row, *position as usize, window, &mut items);
        }
        let count = (items.len() / ITEM_WORDS) as u32;
        let upload = |values: &[u32]| Buffer::from_slice(gpu, values).unwrap();
        let (positions, tables) = (upload(&positions), upload(&pick(&self.table_starts)));
        let (block_tables, items, count_there) =
            (upload(&self.block_tables), upload(&items), upload(&[count]));
        let queries = Buffer::from_slice(gpu, &queries).unwrap();
        let cached = |values| cached(gpu, self.kv_type, values, head_dim);
        let (keys, values) = (cached(&self.keys), cached(&self.values));
        let (max, sizes) = ([rows.len(), count as usize], [kv_heads, head_dim]);
        let mut scratch = AttentionScratch::new(gpu, max, sizes).unwrap();
        let stride = size.next_multiple_of(GROUP);
        let mut out = poisoned(gpu, rows.len() * stride);
        // Twice: what a launch leaves in the scratch must not hurt the next one.
        for _ in 0..2 {
            Attention {
                queries: queries.view(),
                keys: keys.view(),
                values: values.view(),
                // SAFETY: tables have a block for each position, below `blocks`; slots are not
                // read.
                rows: unsafe {
                    let places = [&positions, &positions, &tables, &block_tables];
                    StepRows::new(places.map(Buffer::view), self.blocks, 1 << 20)
                },
                // SAFETY: these are the rows' items, each row once.
                items: unsafe { AttentionItems::new(items.view(), count_there.view()) },
                scratch: &mut scratch,
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
        }
        let out = widened(&read(gpu, &out));
        out.chunks_exact(stride).flat_map(|row| row[..size].to_vec()).collect()
    }

    fn right(&self, row: usize) -> Vec<f32> {
        let Shape { heads, kv_heads, head_dim, window, softcap } = self.shape;
        let last = self.positions[row] as usize;
        let from = window.map_or(0, |window| (last + 1).saturating_sub(window));
        let mut out = vec![0.0; heads * head_dim];
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let gather = |cache: &[u16]| -> Vec<f32> {
                (from..=last)
                    .map(|position| self.place(row, position, head / (heads / kv_heads)))
                    .flat_map(|place| widened(&cache[place..place + head_dim]))
                    .collect()
            };
            let query = widened(&self.queries[(row * heads + head) * head_dim..][..head_dim]);
            let (keys, values) = (gather(&self.keys), gather(&self.values));
            attention(&query, &keys, &values, SCALE, softcap, out);
        }
        out
    }

    /// As bf16, and as fp8.
    fn check(&self) {
        self.check_stored();
        let [keys, values] =
            [&self.keys, &self.values].map(|values| rounded_to_fp8(values, self.shape.head_dim));
        Case { kv_type: KvType::Fp8, keys, values, ..self.clone() }.check_stored();
    }

    fn check_stored(&self) {
        let rows: Vec<usize> = (0..self.positions.len()).collect();
        let found = on_devices(|gpu| self.run(gpu, &rows));
        let size = self.shape.heads * self.shape.head_dim;
        for (row, found) in found.chunks_exact(size).enumerate() {
            // Weights and the result are rounded to bf16.
            assert_close(found, &self.right(row), 6e-3);
            let alone = on_devices(|gpu| self.run(gpu, &[row]));
            assert_eq!(bits(found), bits(&alone), "row {row} depends on the others");
        }
    }
}

#[test]
fn one_position_block_edges_and_several_chunks() {
    let mut random = Random::new(14);
    let shape = Shape { heads: 4, kv_heads: 2, head_dim: 64, window: None, softcap: None };
    // The last of a warp's blocks, of a chunk, of two chunks; the first of the next.
    Case::new(&mut random, shape, &[0, 14, 15, 16, 63, 64, 255, 256, 600]).check();
}

#[test]
fn windows_and_caps() {
    let mut random = Random::new(15);
    for window in [1, 17, 256, 300] {
        let shape =
            Shape { heads: 3, kv_heads: 1, head_dim: 64, window: Some(window), softcap: Some(2.5) };
        Case::new(&mut random, shape, &[0, 30, 271, 290, 555]).check();
    }
}

#[test]
fn wide_heads_and_large_groups() {
    let mut random = Random::new(16);
    for (heads, kv_heads, head_dim) in [(8, 1, 128), (14, 2, 128), (4, 1, 256), (2, 2, 256)] {
        let shape = Shape { heads, kv_heads, head_dim, window: None, softcap: None };
        Case::new(&mut random, shape, &[20, 300]).check();
    }
}

#[test]
fn scores_far_apart() {
    let mut random = Random::new(17);
    let shape = Shape { heads: 2, kv_heads: 1, head_dim: 64, window: None, softcap: None };
    let mut case = Case::new(&mut random, shape, &[280]);
    // One key that outweighs all others by far, in the second chunk.
    let place = case.place(0, 270, 0);
    let query = widened(&case.queries[..64]);
    let key: Vec<f32> = query.iter().map(|q| q * 30.0).collect();
    case.keys[place..place + 64].copy_from_slice(&rounded(&key).0);
    case.check();
}

#[test]
fn numbers_of_heads_without_a_kernel_are_known() {
    assert!(Attention::is_supported(32, 8, 128));
    assert!(!Attention::is_supported(9, 1, 128));
    assert!(!Attention::is_supported(8, 8, 80));
    assert!(!Attention::is_supported(3, 2, 64));
}
