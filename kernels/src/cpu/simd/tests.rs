//! Every instruction set does what plain Rust does, operation by operation.

use super::*;
use crate::cpu::testing::Random;
use half::f16;

/// Results of all operations on some input, as bits.
struct Everything<'a> {
    floats: &'a [[f32; 8]; 4],
    bytes: &'a [[u8; 32]; 2],
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
        for x in [x, s.and(x, y), s.or(x, y)] {
            let mut lanes = [0; 8];
            s.store_i32(x, &mut lanes);
            out.extend(lanes.map(i32::cast_unsigned));
        }
        out
    }
}

/// Results of all operations that products are written in, group after group. Whole numbers are
/// seen through f32, which is exact for what fits 24 bits: each half of the bits by itself.
struct EverythingOfGroups<'a> {
    groups: &'a [Group],
    codes: &'a [[i8; 4]; 8],
}

/// What is loaded of one group.
struct Group {
    floats: [[[u8; 4]; 8]; 2],
    halves: [[u8; 2]; 8],
    bytes: [[u8; 32]; 8],
    small: [[u8; 32]; 8],
}

impl GroupsTask for EverythingOfGroups<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<const G: usize, S: Groups<G>>(self, s: S) -> Vec<Vec<u32>> {
        let mut out = Vec::new();
        let (pairs, rest) = self.groups.as_chunks::<G>();
        for groups in pairs {
            everything_of(s, groups.each_ref(), self.codes, &mut out);
        }
        for group in rest {
            everything_of(s.one(), [group], self.codes, &mut out);
        }
        out
    }
}

#[inline(always)]
fn everything_of<const G: usize, S: Groups<G>>(
    s: S,
    groups: [&Group; G],
    codes: &[[i8; 4]; 8],
    out: &mut Vec<Vec<u32>>,
) {
    let [a, b] = [0, 1].map(|i| s.load_f32_of(groups.map(|group| &group.floats[i])));
    let (c, d) = (s.splat(1.5), s.splat(-0.75));
    let floats = [
        a,
        s.load_f16_of(groups.map(|group| &group.halves)),
        s.load_bf16_of(groups.map(|group| &group.halves)),
        s.add(a, b),
        s.mul(a, b),
        s.fma(a, b, c),
        s.fnma(a, b, d),
    ];
    let (mut any, mut w) = ([s.splat_i32(0); 8], [s.splat_i32(0); 8]);
    let mut a = any;
    for i in 0..8 {
        any[i] = s.load_bytes_of(groups.map(|group| &group.bytes[i]));
        w[i] = s.load_bytes_of(groups.map(|group| &group.small[i]));
        a[i] = s.splat4(&codes[i]);
    }
    let total = codes.as_flattened().iter().map(|x| i32::from(*x)).sum();
    let (x, y, acc) = (any[0], any[1], s.splat_i32(-7));
    let whole = [
        s.and(x, y),
        s.or(x, y),
        s.shl16(x, 3),
        s.shr16(x, 3),
        s.sar16(x, 3),
        s.dot_i16(acc, x, y),
        s.splat2(&[-3, 30_000]),
        s.dots::<8, 4>(acc, w, a),
        s.signed_dots::<8>(s.signed_start(total), any, a),
        s.scaled_dots::<8, 4>(acc, w, a, s.scale_u8(x, 0)),
        s.scaled_dots::<8, 4>(acc, w, a, s.scale_u8(x, 3)),
        s.scaled_dots::<8, 4>(acc, w, a, s.scale_i8(x, 1)),
        s.scaled_dots::<8, 4>(acc, w, a, s.scale_i8(x, 2)),
    ];
    let low = s.splat_i32(0xffff);
    let mut found: [Vec<u32>; G] = std::array::from_fn(|_| Vec::new());
    let mut keep = |x: S::F| {
        for (found, lanes) in found.iter_mut().zip(s.lanes_of(x)) {
            found.extend(lanes.map(f32::to_bits));
        }
    };
    floats.into_iter().for_each(&mut keep);
    for x in whole {
        keep(s.to_f32(s.and(x, low)));
        keep(s.to_f32(s.and(x, s.splat_i32(-0x1_0000))));
        keep(s.to_f32(x));
    }
    out.extend(found);
}

#[test]
fn operations_are_the_same_everywhere() {
    let mut random = Random::new(15);
    for _ in 0..100 {
        let mut floats = [[0.0; 8]; 4];
        floats.iter_mut().flatten().for_each(|x| *x = random.in_range(-100.0, 100.0));
        let mut bytes = [[0; 32]; 2];
        bytes.iter_mut().flatten().for_each(|x| *x = random.next() as u8);
        let all: Vec<Vec<u32>> = Isa::available()
            .into_iter()
            .map(|isa| isa.run(Everything { floats: &floats, bytes: &bytes }))
            .collect();
        for (isa, found) in Isa::available().into_iter().zip(&all) {
            assert_eq!(*found, all[0], "{isa:?}");
        }
    }
}

#[test]
fn operations_on_groups_are_the_same_everywhere() {
    let mut random = Random::new(16);
    for _ in 0..100 {
        let groups: Vec<Group> = (0..3)
            .map(|_| Group {
                floats: [(); 2]
                    .map(|()| [(); 8].map(|()| random.in_range(-9.0, 9.0).to_le_bytes())),
                halves: [(); 8].map(|()| f16::from_f32(random.in_range(-9.0, 9.0)).to_le_bytes()),
                bytes: [(); 8].map(|()| [(); 32].map(|()| random.next() as u8)),
                small: [(); 8].map(|()| [(); 32].map(|()| random.next() as u8 & 31)),
            })
            .collect();
        let codes = [(); 8].map(|()| [(); 4].map(|()| (random.next() as i8).max(-127)));
        let run = |isa: Isa| isa.run_groups(EverythingOfGroups { groups: &groups, codes: &codes });
        let expected = run(Isa::available()[0]);
        for isa in Isa::available() {
            assert_eq!(run(isa), expected, "{isa:?}");
        }
    }
}

/// Results for numbers that have rules of their own.
struct Edges<'a> {
    halves: &'a [u16; 8],
    left: &'a [f32; 8],
    right: &'a [f32; 8],
}

impl Task for Edges<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<u32> {
        let (wide, a, b) = (s.load_f16(self.halves), s.load(self.left), s.load(self.right));
        let mut out = Vec::new();
        for x in [wide, s.max(a, b), s.min(a, b), s.where_at_least(a, b, s.splat(-2.0))] {
            let mut lanes = [0.0; 8];
            s.store(x, &mut lanes);
            out.extend(lanes.map(f32::to_bits));
        }
        // Also the middle between this half and the next, and a bit more.
        for factor in [1.0, 1.0 + 1.0 / 2048.0, 1.0 + 1.0 / 2047.0] {
            let mut narrow = [0; 8];
            s.store_f16(s.mul(wide, s.splat(factor)), &mut narrow);
            out.extend(narrow.map(u32::from));
        }
        let mut ties = [0; 32];
        s.round_to_i8([s.splat(0.5), s.splat(1.5), s.splat(-2.5), s.splat(-126.5)], &mut ties);
        out.extend(ties.map(|x| u32::from(x.cast_unsigned())));
        out
    }
}

#[test]
fn edges_are_the_same_everywhere() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    let left = [0.0, -0.0, NAN, 1.0, INF, -INF, 1e-40, NAN];
    let right = [-0.0, 0.0, 1.0, NAN, 1.0, NAN, -1e-40, INF];
    let numbers = (0..=u16::MAX).filter(|bits| !f16::from_bits(*bits).is_nan());
    for halves in numbers.collect::<Vec<u16>>().as_chunks::<8>().0 {
        let run = |isa: Isa| isa.run(Edges { halves, left: &left, right: &right });
        let expected = run(Isa::available()[0]);
        for isa in Isa::available() {
            assert_eq!(run(isa), expected, "{isa:?} {halves:04x?}");
        }
    }
}
