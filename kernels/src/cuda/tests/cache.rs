//! Keys and values as bytes, against a model of the format that goes through all its numbers.

use super::*;
use crate::reference::RopePairs;

/// What a code stands for: three bits of exponent with bias 3, four of fraction, no infinity and no
/// NaN.
fn e3m4(code: u8) -> f64 {
    let (exponent, fraction) = (i32::from(code >> 4 & 7), f64::from(code & 15));
    let size = match exponent {
        0 => fraction / 64.0,
        _ => (1.0 + fraction / 16.0) * 2.0_f64.powi(exponent - 3),
    };
    if code & 0x80 == 0 { size } else { -size }
}

/// The nearest code; of two as near the even one.
fn nearest(value: f64) -> u8 {
    let distance = |code: &u8| (e3m4(*code) - value.abs()).abs();
    let by_distance =
        |a: &u8, b: &u8| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)));
    let code = (0..=0x7F).min_by(by_distance).expect("codes");
    code | if value.is_sign_negative() { 0x80 } else { 0 }
}

/// The least power of two that makes room for all of a head, as its exponent with bias 127.
fn exponent_of(values: &[f32]) -> u8 {
    let largest = values.iter().fold(0.0, |largest, x| f64::max(largest, f64::from(x.abs())));
    (1..=254).find(|e| largest <= 31.0 * 2.0_f64.powi(i32::from(*e) - 127)).expect("room")
}

/// A head's values in the order of their bytes.
fn interchanged<T: Copy>(values: &[T]) -> Vec<T> {
    values.chunks_exact(4).flat_map(|four| [four[0], four[2], four[1], four[3]]).collect()
}

/// Codes and exponent of a head's values; of a slot that was never written all bits are ones.
fn encoded(values: &[f32]) -> (Vec<u8>, u8) {
    if values.iter().any(|value| value.is_nan()) {
        return (vec![0xFF; values.len()], 0xFF);
    }
    let exponent = exponent_of(values);
    let factor = 2.0_f64.powi(127 - i32::from(exponent));
    let codes: Vec<u8> = values.iter().map(|value| nearest(f64::from(*value) * factor)).collect();
    (interchanged(&codes), exponent)
}

fn decoded(codes: &[u8], exponent: u8) -> Vec<f32> {
    let factor = 2.0_f64.powi(i32::from(exponent) - 127);
    interchanged(codes).into_iter().map(|code| (e3m4(code) * factor) as f32).collect()
}

/// The numbers nearest to these bf16 that are stored as bytes with others of their head.
pub(super) fn rounded_to_fp8(values: &[u16], head_dim: usize) -> Vec<u16> {
    let heads = values.chunks_exact(head_dim).map(widened);
    let round = |head: Vec<f32>| match encoded(&head) {
        (_, 0xFF) => vec![0xFFFF; head_dim],
        (codes, exponent) => rounded(&decoded(&codes, exponent)).0,
    };
    heads.flat_map(round).collect()
}

/// Numbers in the cache, which must be among those that it holds.
pub(super) fn cached(gpu: &dyn Gpu, kv_type: KvType, values: &[u16], head_dim: usize) -> KvBuffer {
    if kv_type == KvType::Bf16 {
        return KvBuffer::Bf16(Buffer::from_slice(gpu, values).unwrap());
    }
    let heads = values.chunks_exact(head_dim).map(|head| encoded(&widened(head)));
    let (codes, exponents): (Vec<_>, Vec<_>) = heads.unzip();
    KvBuffer::Fp8 {
        codes: Buffer::from_slice(gpu, &codes.concat()).unwrap(),
        exponents: Buffer::from_slice(gpu, &exponents).unwrap(),
    }
}

/// A cache that nobody has written yet.
pub(super) fn poisoned_cache(
    gpu: &dyn Gpu,
    kv_type: KvType,
    heads: usize,
    head_dim: usize,
) -> KvBuffer {
    match kv_type {
        KvType::Bf16 => KvBuffer::Bf16(poisoned(gpu, heads * head_dim)),
        KvType::Fp8 => KvBuffer::Fp8 {
            codes: poisoned(gpu, heads * head_dim),
            exponents: poisoned(gpu, heads),
        },
    }
}

/// All of a cache, NaN where nobody has written.
pub(super) fn read_cache(gpu: &dyn Gpu, cache: &KvBuffer, head_dim: usize) -> Vec<f32> {
    match cache {
        KvBuffer::Bf16(values) => widened(&read(gpu, values)),
        KvBuffer::Fp8 { codes, exponents } => read(gpu, codes)
            .chunks_exact(head_dim)
            .zip(read(gpu, exponents))
            .flat_map(|(codes, exponent)| match exponent {
                0xFF => vec![f32::NAN; head_dim],
                exponent => decoded(codes, exponent),
            })
            .collect(),
    }
}

const DIM: usize = 256;

/// What is stored of a value head, as written by the kernel: codes in order, and the exponent.
fn store(values: &[f32]) -> (Vec<u8>, u8) {
    assert_eq!(values.len(), DIM);
    // Query, key and value of one row at position 0.
    let products = [&[0.0; 2 * DIM], values].concat();
    let found = on_devices(|gpu| {
        let products = Buffer::from_slice(gpu, &products).unwrap();
        let rotations = Buffer::from_slice(gpu, &[1.0, 0.0].repeat(DIM / 2)).unwrap();
        let zero = Buffer::from_slice(gpu, &[0_u32]).unwrap();
        let mut queries = poisoned::<u16>(gpu, DIM);
        let [mut keys, mut values] = [0, 1].map(|_| poisoned_cache(gpu, KvType::Fp8, 16, DIM));
        ProjectHeads {
            products: products.view(),
            norms: None,
            eps: 0.0,
            rotations: rotations.view(),
            pairs: RopePairs::Halves,
            // SAFETY: one row at position 0 and slot 0 of one block; no table is read.
            rows: unsafe { StepRows::new([zero.view(); 4], 1, 1) },
            heads: 1,
            kv_heads: 1,
            head_dim: DIM,
            queries: queries.view_mut(),
            keys: keys.view_mut(),
            values: values.view_mut(),
        }
        .run(gpu)
        .unwrap();
        let KvBuffer::Fp8 { codes, exponents } = values else { unreachable!("it was made so") };
        let (codes, exponents) = (read(gpu, &codes), read(gpu, &exponents));
        let bytes = interchanged(&codes[..DIM]).into_iter().chain([exponents[0]]);
        bytes.map(f32::from).collect()
    });
    let bytes: Vec<u8> = found.iter().map(|byte| *byte as u8).collect();
    (bytes[..DIM].to_vec(), bytes[DIM])
}

#[track_caller]
fn check_stored(values: &[f32]) {
    for part in values.chunks(DIM - 1) {
        // Its largest is the head's, or not.
        for largest in [31.0, 1.0e-3, 3.0e7] {
            let mut head = part.to_vec();
            head.resize(DIM, largest);
            let (codes, exponent) = store(&head);
            let right = exponent_of(&head);
            assert_eq!(exponent, right, "of {head:?}");
            let factor = 2.0_f64.powi(127 - i32::from(right));
            for (value, code) in head.iter().zip(codes) {
                let right = nearest(f64::from(*value) * factor);
                assert_eq!(code, right, "{value:e} with 2^{}", i32::from(exponent) - 127);
            }
        }
    }
}

#[test]
fn every_number_of_fp8_is_stored_as_itself() {
    let codes: Vec<u8> = (0..=0xFF).collect();
    let values: Vec<f32> = codes.iter().map(|code| e3m4(*code) as f32).collect();
    assert_eq!(store(&values), (codes, 127));
    check_stored(&values);
}

#[test]
fn what_lies_between_is_rounded_to_the_nearest_and_ties_to_even() {
    let codes = (0..0x7F).map(|code| (e3m4(code) as f32, e3m4(code + 1) as f32));
    let middles = codes.map(|(below, above)| (below + above) / 2.0);
    let beside = |x: f32| [x.next_down(), x, x.next_up(), -x, -x.next_up()];
    let values: Vec<f32> = middles.flat_map(beside).collect();
    check_stored(&values);
    let mut random = Random::new(81);
    let sizes: Vec<f32> = (0..300).map(|_| random.in_range(-14.0, 8.0).exp2()).collect();
    let values: Vec<f32> = sizes.iter().map(|size| size * random.in_range(-1.0, 1.0)).collect();
    check_stored(&values);
    let least = f32::from_bits(1);
    check_stored(&[0.0, -0.0, least, -least, f32::MIN_POSITIVE, 1e-30, 31.0, 31.1, 32.0, 3e38]);
    check_stored(&[f32::MAX, f32::MIN, 1.0]);
}

#[test]
fn a_head_of_tiny_numbers_or_of_none_is_stored() {
    let mut head = vec![0.0; DIM];
    assert_eq!(store(&head), (vec![0; DIM], 1));
    head[3] = f32::from_bits(5);
    assert_eq!(store(&head), (vec![0; DIM], 1));
    for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut head = vec![1.0; DIM];
        head[200] = wrong;
        assert_eq!(store(&head), (vec![0; DIM], 0xFF), "{wrong}");
    }
}

/// Of a sequence of one position attention gives back the values, and so every number.
fn read_back(codes: &[u8], exponent: u8) -> Vec<f32> {
    on_devices(|gpu| {
        let zeros = Buffer::from_slice(gpu, &[0_u16; DIM]).unwrap();
        let [zero, one] = [0, 1].map(|n| Buffer::from_slice(gpu, &[n]).unwrap());
        let cache = |codes: &[u8], exponent: u8| {
            let mut all = (vec![0xFF; 16 * DIM], [0xFF; 16]);
            all.0[..DIM].copy_from_slice(codes);
            all.1[0] = exponent;
            KvBuffer::Fp8 {
                codes: Buffer::from_slice(gpu, &all.0).unwrap(),
                exponents: Buffer::from_slice(gpu, &all.1).unwrap(),
            }
        };
        let (keys, values) = (cache(&[0; DIM], 127), cache(&interchanged(codes), exponent));
        let (mut items, mut tiles) = (Vec::new(), Vec::new());
        list_items(0, 0, None, &mut items);
        list_tiles(0..1, 1, &mut tiles);
        let [items, tiles] = [items, tiles].map(|list| Buffer::from_slice(gpu, &list).unwrap());
        // SAFETY: one row at position 0 of one block.
        let rows = unsafe { StepRows::new([zero.view(); 4], 1, 1) };
        let mut scratch = AttentionScratch::new(gpu, [1, 1], [1, DIM]).unwrap();
        let [mut alone, mut together] = [0, 1].map(|_| poisoned::<u16>(gpu, DIM));
        Attention {
            queries: zeros.view(),
            keys: keys.view(),
            values: values.view(),
            rows,
            // SAFETY: the row's one item.
            items: unsafe { AttentionItems::new(items.view(), one.view()) },
            scratch: &mut scratch,
            heads: 1,
            kv_heads: 1,
            head_dim: DIM,
            window: None,
            scale: 1.0,
            softcap: None,
            out: alone.view_mut(),
            out_stride: DIM,
        }
        .run(gpu)
        .unwrap();
        Prefill {
            queries: zeros.view(),
            keys: keys.view(),
            values: values.view(),
            rows,
            // SAFETY: the row's one tile.
            tiles: unsafe { PrefillTiles::new(tiles.view()) },
            heads: 1,
            kv_heads: 1,
            head_dim: DIM,
            window: None,
            scale: 1.0,
            softcap: None,
            out: together.view_mut(),
            out_stride: DIM,
        }
        .run(gpu)
        .unwrap();
        let (alone, together) = (widened(&read(gpu, &alone)), widened(&read(gpu, &together)));
        let same = alone.iter().zip(&together).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
        assert!(same, "both kinds of attention read the same");
        alone
    })
}

#[test]
fn every_number_of_fp8_is_read_as_itself() {
    let codes: Vec<u8> = (0..=0xFF).collect();
    for exponent in [127, 120, 140, 60, 200] {
        let right = decoded(&interchanged(&codes), exponent);
        assert_eq!(read_back(&codes, exponent), right, "{exponent}");
    }
    assert!(read_back(&[0; DIM], 0xFF).iter().all(|value| value.is_nan()), "no numbers");
}
