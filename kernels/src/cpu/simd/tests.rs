//! Every instruction set does what plain Rust does, operation by operation.

use super::*;
use crate::cpu::testing::Random;

/// Results of all operations on some input, as bits.
struct Everything<'a> {
    floats: &'a [[f32; 8]; 4],
    bytes: &'a [[u8; 32]; 8],
    small: &'a [[u8; 32]; 8],
    codes: &'a [[i8; 4]; 8],
}

impl Task for Everything<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<u32> {
        let [a, b, c, d] = self.floats;
        let (a, b, c, d) = (s.load(a), s.load(b), s.load(c), s.load(d));
        let mut half = [0; 8];
        s.store_f16(a, &mut half);
        let mut rounded = [0; 32];
        s.round_to_i8([a, b, c, d], &mut rounded);
        let floats = [
            s.splat(1.5),
            s.add(a, b),
            s.sub(a, b),
            s.mul(a, b),
            s.div(a, b),
            s.max(a, b),
            s.min(a, b),
            s.abs(a),
            s.fma(a, b, c),
            s.fnma(a, b, c),
            s.where_at_least(a, b, c),
            s.to_f32(s.round(s.mul(a, s.splat(1000.0)))),
            s.scale_exponent(a, s.round(b)),
            s.load_f16(&half),
            s.load_bf16(&half),
        ];
        let mut out: Vec<u32> = half.into_iter().map(u32::from).collect();
        out.extend(rounded.iter().map(|x| u32::from(x.cast_unsigned())));
        out.extend([s.sum(a).to_bits(), s.max_lane(a).to_bits()]);
        for x in floats {
            let mut lanes = [0.0; 8];
            s.store(x, &mut lanes);
            out.extend(lanes.map(f32::to_bits));
        }

        let (x, y) = (s.load_bytes(&self.bytes[0]), s.load_bytes(&self.bytes[1]));
        let acc = s.splat_i32(-7);
        let (mut any, mut w, mut codes) = ([x; 8], [x; 8], [x; 8]);
        for i in 0..8 {
            any[i] = s.load_bytes(&self.bytes[i]);
            w[i] = s.load_bytes(&self.small[i]);
            codes[i] = s.splat4(&self.codes[i]);
        }
        let total = self.codes.as_flattened().iter().map(|x| i32::from(*x)).sum();
        let whole = [
            s.and(x, y),
            s.or(x, y),
            s.sub_i32(x, y),
            s.shl32(x, 5),
            s.shl16(x, 3),
            s.shr16(x, 3),
            s.sar16(x, 3),
            s.dot_i16(acc, x, y),
            s.splat2(&[-3, 30_000]),
            s.dots::<8, 4>(acc, w, codes),
            s.signed_dots::<8>(s.signed_start(total), any, codes),
            s.scaled_dots::<8, 4>(acc, w, codes, s.scale_u8(x, 0)),
            s.scaled_dots::<8, 4>(acc, w, codes, s.scale_u8(x, 3)),
            s.scaled_dots::<8, 4>(acc, w, codes, s.scale_i8(x, 1)),
            s.scaled_dots::<8, 4>(acc, w, codes, s.scale_i8(x, 2)),
        ];
        for x in whole {
            let mut lanes = [0; 8];
            s.store_i32(x, &mut lanes);
            out.extend(lanes.map(i32::cast_unsigned));
        }
        out
    }
}

#[test]
fn operations_are_the_same_everywhere() {
    let mut random = Random::new(15);
    for _ in 0..100 {
        let mut floats = [[0.0; 8]; 4];
        floats.iter_mut().flatten().for_each(|x| *x = random.in_range(-100.0, 100.0));
        let (mut bytes, mut small) = ([[0; 32]; 8], [[0; 32]; 8]);
        bytes.iter_mut().flatten().for_each(|x| *x = random.next() as u8);
        small.iter_mut().flatten().for_each(|x| *x = random.next() as u8 & 31);
        let mut codes = [[0; 4]; 8];
        codes.iter_mut().flatten().for_each(|x| *x = (random.next() as i8).max(-127));
        let all: Vec<Vec<u32>> = Isa::available()
            .into_iter()
            .map(|isa| {
                let (floats, bytes, small) = (&floats, &bytes, &small);
                isa.run(Everything { floats, bytes, small, codes: &codes })
            })
            .collect();
        for (isa, found) in Isa::available().into_iter().zip(&all) {
            assert_eq!(*found, all[0], "{isa:?}");
        }
    }
}
