//! Queries, keys and values: norms, rotation, and the place of each in the cache.

use super::cache::{poisoned_cache, read_cache};
use super::*;
use crate::reference::{RopePairs, rms_norm, rope};

const BLOCKS: usize = 4;
const MAX_CONTEXT: usize = 50;
const EPS: f32 = 1e-6;

struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    pairs: RopePairs,
    has_norms: bool,
    kv_type: KvType,
}

/// Cosine and sine of each pair at each position.
fn rotations(inv_freq: &[f32]) -> Vec<f32> {
    (0..MAX_CONTEXT)
        .flat_map(|position| inv_freq.iter().map(move |freq| position as f32 * freq))
        .flat_map(|angle| [angle.cos(), angle.sin()])
        .collect()
}

fn check(random: &mut Random, shape: &Shape) {
    let Shape { heads, kv_heads, head_dim, pairs, has_norms, kv_type } = *shape;
    // The second row only fills up the batch.
    let (positions, slots) = ([37_u32, 5, 0, 49], [21_u32, NO_SLOT, 63, 0]);
    let all_heads = heads + 2 * kv_heads;
    let products = random.normal(4 * all_heads * head_dim);
    let [q_norm, k_norm] = [0, 1].map(|_| random.normal(head_dim));
    let inv_freq: Vec<f32> = (0..head_dim / 2).map(|i| 0.9_f32.powi(i as i32)).collect();
    let (queries_len, cache_len) = (4 * heads * head_dim, BLOCKS * kv_heads * 16 * head_dim);
    let found = on_devices(|gpu| {
        let upload = |values: &[f32]| Buffer::from_slice(gpu, values).unwrap();
        let (products, rotations) = (upload(&products), upload(&rotations(&inv_freq)));
        let (q_norm, k_norm) = (upload(&q_norm), upload(&k_norm));
        let positions = Buffer::from_slice(gpu, &positions).unwrap();
        let slots = Buffer::from_slice(gpu, &slots).unwrap();
        let tables = Buffer::from_slice(gpu, &[0_u32; 4]).unwrap();
        let mut queries = poisoned(gpu, queries_len);
        let [mut keys, mut values] =
            [0, 1].map(|_| poisoned_cache(gpu, kv_type, BLOCKS * kv_heads * 16, head_dim));
        ProjectHeads {
            products: products.view(),
            norms: has_norms.then(|| (q_norm.view(), k_norm.view())),
            eps: EPS,
            rotations: rotations.view(),
            pairs,
            // SAFETY: positions are below 50, slots below 64; no table is read.
            rows: unsafe {
                StepRows::new(
                    [positions.view(), slots.view(), tables.view(), tables.view()],
                    BLOCKS,
                    MAX_CONTEXT,
                )
            },
            heads,
            kv_heads,
            head_dim,
            queries: queries.view_mut(),
            keys: keys.view_mut(),
            values: values.view_mut(),
        }
        .run(gpu)
        .unwrap();
        let [keys, values] = [&keys, &values].map(|cache| read_cache(gpu, cache, head_dim));
        [widened(&read(gpu, &queries)), keys, values].concat()
    });
    let (queries, cache) = found.split_at(queries_len);
    let (keys, values) = cache.split_at(cache_len);
    let mut written = 0;
    for row in 0..4 {
        for head in 0..all_heads {
            let mut right = products[(row * all_heads + head) * head_dim..][..head_dim].to_vec();
            let turn = |x: &mut [f32]| rope(x, positions[row], &inv_freq, 1.0, pairs);
            let norm = |x: &mut [f32], weights: &[f32]| {
                if has_norms {
                    rms_norm(x, weights, EPS);
                }
            };
            let slot = slots[row] as usize;
            let of_cache = |cache: &'_ [f32], head: usize| {
                let at = ((slot / 16 * kv_heads + head) * 16 + slot % 16) * head_dim;
                cache[at..at + head_dim].to_vec()
            };
            let found = if head < heads {
                norm(&mut right, &q_norm);
                turn(&mut right);
                queries[(row * heads + head) * head_dim..][..head_dim].to_vec()
            } else if slots[row] == NO_SLOT {
                continue;
            } else if head < heads + kv_heads {
                norm(&mut right, &k_norm);
                turn(&mut right);
                written += head_dim;
                of_cache(keys, head - heads)
            } else {
                written += head_dim;
                of_cache(values, head - heads - kv_heads)
            };
            // Of bytes a rounding loses up to 2^-5, of bf16 2^-9.
            let is_fp8 = head >= heads && kv_type == KvType::Fp8;
            assert_close(&found, &right, if is_fp8 { 0.032 } else { 4e-3 });
        }
    }
    // Nothing else was touched.
    assert_eq!(cache.iter().filter(|value| !value.is_nan()).count(), written);
}

#[test]
fn heads_are_normed_turned_and_stored() {
    let mut random = Random::new(13);
    let (adjacent, halves) = (RopePairs::Adjacent, RopePairs::Halves);
    for (heads, kv_heads, head_dim, pairs, has_norms) in [
        (3, 1, 64, adjacent, false),
        (4, 2, 128, halves, true),
        (2, 2, 256, halves, true),
        (5, 1, 8, adjacent, true),
    ] {
        for kv_type in [KvType::Bf16, KvType::Fp8] {
            let shape = Shape { heads, kv_heads, head_dim, pairs, has_norms, kv_type };
            check(&mut random, &shape);
        }
    }
}
