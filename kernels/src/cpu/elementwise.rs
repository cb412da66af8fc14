//! The steps between products, one row at a time: norm, rotation, activations, soft cap.

use super::simd::{Isa, Simd, Task};
use crate::reference::RopePairs;

/// What is applied to the gate before it is multiplied with up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateActivation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU by the tanh approximation.
    GeluTanh,
}

/// `out = x * weight / sqrt(mean(x^2) + eps)`.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "one weight for each value");
    let scale = norm_scale(isa, x, eps);
    isa.run(ScaleBy { x, weight, scale, out });
}

/// The same in place.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], weight: &[f32], eps: f32) {
    assert_eq!(x.len(), weight.len(), "one weight for each value");
    let scale = norm_scale(isa, x, eps);
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * scale * weight;
    }
}

fn norm_scale(isa: Isa, x: &[f32], eps: f32) -> f32 {
    let mean = isa.run(SumOfSquares(x)) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

struct SumOfSquares<'a>(&'a [f32]);

impl Task for SumOfSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (chunks, tail) = self.0.as_chunks::<32>();
        let mut sums = [s.splat(0.0); 4];
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
                let x = s.load(x);
                *sum = s.fma(x, x, *sum);
            }
        }
        let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
        tail.iter().fold(s.sum(sum), |sum, x| x.mul_add(*x, sum))
    }
}

struct ScaleBy<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    scale: f32,
    out: &'a mut [f32],
}

impl Task for ScaleBy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ((x, x_tail), (w, w_tail)) = (self.x.as_chunks::<8>(), self.weight.as_chunks::<8>());
        let (out, out_tail) = self.out.as_chunks_mut::<8>();
        for ((x, w), out) in x.iter().zip(w).zip(out) {
            s.store(s.mul(s.mul(s.load(x), s.splat(self.scale)), s.load(w)), out);
        }
        for ((x, w), out) in x_tail.iter().zip(w_tail).zip(out_tail) {
            *out = *x * self.scale * w;
        }
    }
}

/// Rotates one head; `cos` and `sin` are those of its position, amplitude included.
pub(crate) fn rotate(isa: Isa, head: &mut [f32], cos: &[f32], sin: &[f32], pairs: RopePairs) {
    isa.run(Rotate { head, cos, sin, pairs });
}

struct Rotate<'a> {
    head: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    pairs: RopePairs,
}

impl Task for Rotate<'_> {
    type Output = ();

    // Plain loops: the compiler makes vectors of them for each instruction set. Products are
    // rounded before they are added, so all give the same bits.
    #[inline(always)]
    fn run<S: Simd>(self, _s: S) {
        let turns = self.cos.iter().zip(self.sin);
        match self.pairs {
            RopePairs::Adjacent => {
                for ([x, y], (cos, sin)) in self.head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                    (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                }
            }
            RopePairs::Halves => {
                let (left, right) = self.head.split_at_mut(self.head.len() / 2);
                for ((x, y), (cos, sin)) in left.iter_mut().zip(right).zip(turns) {
                    (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                }
            }
        }
    }
}

/// `out = activation(gate) * up`, eight at a time.
pub(crate) struct Gate<'a> {
    pub(crate) activation: GateActivation,
    pub(crate) gate: &'a [[f32; 8]],
    pub(crate) up: &'a mut [[f32; 8]],
}

impl Task for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (gate, up) in self.gate.iter().zip(self.up) {
            let x = s.load(gate);
            // Both are x * sigmoid(z): GELU's (1 + tanh(y)) / 2 is sigmoid(2 y).
            let z = match self.activation {
                GateActivation::Silu => x,
                GateActivation::GeluTanh => {
                    let cubic = s.fma(s.mul(x, x), s.splat(0.044_715), s.splat(1.0));
                    s.mul(s.mul(x, s.splat(1.595_769_2)), cubic) // 2 * sqrt(2 / pi)
                }
            };
            let below = exp(s, s.sub(s.splat(0.0), z));
            let gated = s.div(x, s.add(s.splat(1.0), below));
            s.store(s.mul(gated, s.load(up)), up);
        }
    }
}

/// `x = cap * tanh(x / cap)`.
pub(crate) struct SoftCap<'a> {
    pub(crate) cap: f32,
    pub(crate) x: &'a mut [[f32; 8]],
}

impl Task for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.x {
            s.store(soft_cap(s, s.load(x), self.cap), x);
        }
    }
}

/// `cap * tanh(x / cap)`, as `cap * (1 - 2 / (e^(2 x / cap) + 1))`.
#[inline(always)]
pub(crate) fn soft_cap<S: Simd>(s: S, x: S::F, cap: f32) -> S::F {
    let power = exp(s, s.mul(x, s.splat(2.0 / cap)));
    let rest = s.div(s.splat(2.0 * cap), s.add(power, s.splat(1.0)));
    s.sub(s.splat(cap), rest)
}

/// Below this [`exp`] is no smaller.
pub(crate) const EXP_MIN: f32 = -86.5;

/// `e^x` for x from [`EXP_MIN`] to 88, and the value at the nearest bound outside.
///
/// Relative error below 2e-7: Cephes' `expf`, a polynomial of degree 6 on half a power of two.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "as published")]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.min(s.max(x, s.splat(EXP_MIN)), s.splat(88.0));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let whole = s.to_f32(n);
    // ln 2 in two parts, the first exact in few bits.
    let r = s.fnma(whole, s.splat(0.693_359_375), x);
    let r = s.fnma(whole, s.splat(-2.121_944_40e-4), r);
    let mut p = s.splat(1.987_569_150e-4);
    for c in [1.398_199_950_7e-3, 8.333_451_907_3e-3, 4.166_579_589_4e-2, 1.666_666_545_9e-1] {
        p = s.fma(p, r, s.splat(c));
    }
    p = s.fma(p, r, s.splat(5.000_000_120_1e-1));
    p = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    s.scale_exponent(p, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::Random;
    use crate::reference;

    fn close(a: f32, b: f32, scale: f32) -> bool {
        (a - b).abs() <= 2e-6 * scale.max(b.abs())
    }

    struct Exp<'a>(&'a mut [[f32; 8]]);

    impl Task for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for x in self.0 {
                s.store(exp(s, s.load(x)), x);
            }
        }
    }

    #[test]
    fn exponential() {
        let x: Vec<f32> = (0..8000).map(|i| -90.0 + 0.0225 * i as f32).collect();
        for isa in Isa::available() {
            let mut found = x.clone();
            isa.run(Exp(found.as_chunks_mut().0));
            for (x, found) in x.iter().zip(found) {
                let exact = f64::from(x.clamp(EXP_MIN, 88.0)).exp();
                assert!((f64::from(found) / exact - 1.0).abs() < 2e-7, "e^{x} = {found}");
            }
        }
    }

    #[test]
    fn norms() {
        let mut random = Random::new(7);
        for len in [1, 8, 31, 64, 100, 576] {
            let (x, weight) = (random.normal(len), random.normal(len));
            let mut expected = x.clone();
            reference::rms_norm(&mut expected, &weight, 1e-5);
            let mut first = None;
            for isa in Isa::available() {
                let mut found = vec![0.0; len];
                rms_norm(isa, &x, &weight, 1e-5, &mut found);
                assert!(found.iter().zip(&expected).all(|(a, b)| close(*a, *b, 1.0)), "{len}");
                let mut in_place = x.clone();
                rms_norm_in_place(isa, &mut in_place, &weight, 1e-5);
                assert_eq!(in_place, found);
                assert_eq!(*first.get_or_insert(found.clone()), found, "{isa:?}");
            }
        }
    }

    #[test]
    fn rotations() {
        let mut random = Random::new(8);
        let inv_freq: Vec<f32> = (0..32).map(|i| 10_000.0_f32.powf(-(i as f32) / 32.0)).collect();
        for pairs in [RopePairs::Adjacent, RopePairs::Halves] {
            let head = random.normal(64);
            let mut expected = head.clone();
            reference::rope(&mut expected, 1234, &inv_freq, 1.1, pairs);
            let turn = |f: fn(f64) -> f64| -> Vec<f32> {
                let angles = inv_freq.iter().map(|freq| f64::from(1234.0 * freq));
                angles.map(|angle| (f(angle) * f64::from(1.1_f32)) as f32).collect()
            };
            for isa in Isa::available() {
                let mut found = head.clone();
                rotate(isa, &mut found, &turn(f64::cos), &turn(f64::sin), pairs);
                assert!(found.iter().zip(&expected).all(|(a, b)| close(*a, *b, 1.0)), "{pairs:?}");
            }
        }
    }

    #[test]
    fn activations() {
        let x: Vec<f32> = (0..4000).map(|i| -100.0 + 0.05 * i as f32).collect();
        type Function = fn(f32) -> f32;
        let functions: [(GateActivation, Function); 2] = [
            (GateActivation::Silu, reference::silu),
            (GateActivation::GeluTanh, reference::gelu_tanh),
        ];
        for (activation, function) in functions {
            for isa in Isa::available() {
                let mut found = vec![2.0; x.len()];
                let (gate, up) = (x.as_chunks().0, found.as_chunks_mut().0);
                isa.run(Gate { activation, gate, up });
                for (x, found) in x.iter().zip(found) {
                    assert!(close(found, 2.0 * function(*x), 1.0), "{activation:?}({x}) = {found}");
                }
            }
        }
    }

    #[test]
    fn soft_caps() {
        for isa in Isa::available() {
            let mut x: Vec<f32> = (0..4000).map(|i| -2000.0 + i as f32).collect();
            let before = x.clone();
            isa.run(SoftCap { cap: 30.0, x: x.as_chunks_mut().0 });
            for (before, x) in before.iter().zip(x) {
                assert!(close(x, 30.0 * (before / 30.0).tanh(), 30.0), "{before} {x}");
            }
        }
    }
}
