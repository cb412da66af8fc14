//! Passes over a row of logits, written so that the compiler makes them SIMD.
//! Promises: results do not depend on the machine: fixed order of additions, own `exp`.
//! Never knows: what is sampled, and why.

use std::cmp::Ordering;
use std::f32::consts::LOG2_E;

/// Values handled side by side.
const LANES: usize = 16;

/// Values between two looks at what was found, so that most of a row is only compared.
const CHUNK: usize = 512;

/// The highest value and its index, the lowest index among equals. `None` if any value is NaN, or
/// none is there. One pass.
pub(super) fn argmax(values: &[f32]) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (index, chunk) in values.chunks(CHUNK).enumerate() {
        let highest = max_or_nan(chunk);
        if highest.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, value)| highest > value) {
            best = Some((index, highest));
        }
    }
    let (chunk, highest) = best?;
    let start = chunk * CHUNK;
    let offset = values[start..].iter().position(|&value| value == highest)?;
    Some((start + offset, highest))
}

/// Makes every value minus infinity whose bit is not set; those beyond `bits` too.
pub(super) fn keep(bits: &[u32], values: &mut [f32]) {
    for (index, group) in values.chunks_mut(u32::BITS as usize).enumerate() {
        match bits.get(index).copied().unwrap_or(0) {
            0 => group.fill(f32::NEG_INFINITY),
            u32::MAX => {}
            word => {
                for (bit, value) in group.iter_mut().enumerate() {
                    *value = if word >> bit & 1 == 1 { *value } else { f32::NEG_INFINITY };
                }
            }
        }
    }
}

fn max_or_nan(values: &[f32]) -> f32 {
    let mut highest = [f32::NEG_INFINITY; LANES];
    let mut has_nan = [false; LANES];
    let (groups, rest) = values.as_chunks::<LANES>();
    for group in groups {
        for lane in 0..LANES {
            let value = group[lane];
            highest[lane] = if value > highest[lane] { value } else { highest[lane] };
            has_nan[lane] |= value.is_nan();
        }
    }
    let is_nan = has_nan.contains(&true) || rest.iter().any(|value| value.is_nan());
    let highest = highest.into_iter().chain(rest.iter().copied());
    if is_nan { f32::NAN } else { highest.fold(f32::NEG_INFINITY, f32::max) }
}

/// How logits become weights: `exp((logit - max) / temperature)`, 0 where that exponent is below
/// `floor`. The highest logit has weight 1.
///
/// Weights are multiples of 2^-34, so that an f64 holds any sum of up to 2^19 of them exactly: in
/// whatever order they are added, here or on a GPU, the sum is the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighting {
    pub(super) max: f32,
    pub(super) temperature: f32,
    pub(super) floor: f32,
}

impl Weighting {
    #[inline]
    pub(super) fn weight(self, logit: f32) -> f64 {
        rounded(self.unrounded(logit))
    }

    #[inline]
    fn unrounded(self, logit: f32) -> f32 {
        let exponent = (logit - self.max) / self.temperature;
        // Computed even if not wanted: a branch would keep this from being SIMD.
        let weight = exp(exponent);
        if exponent >= self.floor { weight } else { 0.0 }
    }

    /// The sum of all weights.
    pub(super) fn sum(self, logits: &[f32]) -> f64 {
        logits.chunks(CHUNK).map(|chunk| self.chunk_sum(chunk)).sum()
    }

    /// The sum of the weights of candidates.
    pub(super) fn sum_of(self, candidates: &[(f32, u32)]) -> f64 {
        candidates.iter().map(|&(logit, _)| self.weight(logit)).sum()
    }

    /// In two loops, of which the first, long one becomes SIMD.
    fn chunk_sum(self, chunk: &[f32]) -> f64 {
        let mut weights = [0.0; CHUNK];
        for (weight, &logit) in weights.iter_mut().zip(chunk) {
            *weight = self.unrounded(logit);
        }
        let mut sums = [0.0; LANES];
        for group in weights.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                sums[lane] += rounded(group[lane]);
            }
        }
        sums.into_iter().sum()
    }

    /// The sums of the weights, [`CHUNK`] by [`CHUNK`].
    pub(super) fn chunk_sums(self, logits: &[f32], sums: &mut Vec<f64>) {
        sums.clear();
        sums.extend(logits.chunks(CHUNK).map(|chunk| self.chunk_sum(chunk)));
    }

    /// The index at which the running sum of weights passes `target`, given `chunk_sums`.
    pub(super) fn find(self, logits: &[f32], chunk_sums: &[f64], target: f64) -> Option<usize> {
        let mut sum = 0.0;
        let passes = |&chunk_sum: &f64| {
            let is_here = sum + chunk_sum > target;
            sum += if is_here { 0.0 } else { chunk_sum };
            is_here
        };
        let start = chunk_sums.iter().position(passes)? * CHUNK;
        let offset = logits[start..].iter().position(|&logit| {
            sum += self.weight(logit);
            sum > target
        })?;
        Some(start + offset)
    }

    /// Keeps the fewest best candidates whose weights together reach `target`, in no particular
    /// order; all that have a weight if they do not reach it.
    ///
    /// Halves the range that holds the last one until it is found, so that the time is linear,
    /// however many there are: a flat distribution of one caller must not hold up the others.
    pub(super) fn reach(self, target: f64, found: &mut Vec<(f32, u32)>) {
        found.retain(|&(logit, _)| self.weight(logit) > 0.0);
        // The weights before `start` are `sum`, below the target; those before `end` reach it.
        let (mut start, mut end, mut sum) = (0, found.len(), 0.0);
        while end - start > 1 {
            let middle = (end - start) / 2;
            let range = &mut found[start..end];
            range.select_nth_unstable_by(middle, best_first);
            let upper = self.sum_of(&range[..middle]);
            if sum + upper >= target {
                end = start + middle;
            } else {
                sum += upper;
                start += middle;
            }
        }
        found.truncate(end);
    }
}

/// The nearest multiple of 2^-34, which is what an f64 has room for beside 1.5 * 2^18.
#[inline]
fn rounded(weight: f32) -> f64 {
    const ROUND: f64 = 393_216.0;
    (f64::from(weight) + ROUND) - ROUND
}

/// The order of candidates: the highest value first, the lowest index first among equals, of which
/// -0 and 0 are two: adding 0 makes them one.
fn best_first(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    (b.0 + 0.0).total_cmp(&(a.0 + 0.0)).then(a.1.cmp(&b.1))
}

/// Puts the best of `values` in the order of their indices, in linear time, whereas a sort of many
/// would hold up others.
pub(super) fn put_in_order(values: &[f32], best: &mut Vec<(f32, u32)>) {
    let Some(last) = best.iter().copied().max_by(best_first) else { return };
    best.clear();
    let all = values.iter().copied().zip(0..);
    best.extend(all.filter(|candidate| best_first(candidate, &last).is_le()));
}

/// The `count` highest values above negative infinity with their indices, the highest first, the
/// lowest index first among equals. Values must not be NaN. One pass, and a sort of `count`.
pub(super) fn top(values: &[f32], count: usize, found: &mut Vec<(f32, u32)>) {
    select_top(values, count, found);
    found.sort_unstable_by(best_first);
}

/// As [`top`], in no particular order: linear in the number of values, whatever `count` is.
pub(super) fn select_top(values: &[f32], count: usize, found: &mut Vec<(f32, u32)>) {
    found.clear();
    if count == 0 {
        return;
    }
    // Kept up to twice over, so that selecting costs a constant for each kept value.
    let max_kept = count.saturating_mul(2).max(64);
    let mut floor = f32::NEG_INFINITY;
    for (group, start) in values.chunks(LANES).zip((0..).step_by(LANES)) {
        // Equal values that come later have higher indices and lose: strictly above.
        if !group.iter().fold(false, |any, &value| any | (value > floor)) {
            continue;
        }
        for (&value, index) in group.iter().zip(start..) {
            if value > floor {
                found.push((value, index));
            }
        }
        if found.len() >= max_kept {
            found.select_nth_unstable_by(count - 1, best_first);
            found.truncate(count);
            floor = found[count - 1].0;
        }
    }
    if found.len() > count {
        found.select_nth_unstable_by(count - 1, best_first);
        found.truncate(count);
    }
}

/// e to the power of `x` for `x <= 0`, within 2 units in the last place; 0 below -87.
///
/// Cephes' `expf`: x = n ln 2 + r, a polynomial for e^r, n into the exponent bits. Our own because
/// the C library's differs between machines, and cannot be done 8 at a time.
#[inline]
fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to the nearest integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const COEFFICIENTS: [f32; 6] =
        [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5];
    let clamped = if x > -87.0 { x } else { -87.0 };
    let rounded = clamped * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let polynomial = COEFFICIENTS.into_iter().fold(0.0, |sum, coefficient| sum * r + coefficient);
    let mantissa = polynomial * r * r + r + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let power = mantissa * f32::from_bits(exponent);
    if x >= -87.0 { power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_the_last_bits() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        let mut worst = 0f64;
        for step in 0..200_000 {
            let x = -87.0 * (step as f32 / 200_000.0);
            let right = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - right).abs() / right);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "relative error {worst}");
    }

    #[test]
    fn argmax_takes_the_lowest_of_equals_and_refuses_nan() {
        let mut values = vec![0.0; 3000];
        assert_eq!(argmax(&values), Some((0, 0.0)));
        for at in [2999, 1700, 1025, 513, 511] {
            values[at] = 2.0;
            assert_eq!(argmax(&values), Some((at, 2.0)));
        }
        values[2998] = f32::NAN;
        assert_eq!(argmax(&values), None);
        assert_eq!(argmax(&[]), None);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), Some((0, f32::NEG_INFINITY)));
    }

    #[test]
    fn top_equals_a_full_sort() {
        let values: Vec<f32> =
            (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32).collect();
        let mut sorted: Vec<(f32, u32)> = values.iter().copied().zip(0..).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut found = Vec::new();
        for count in [0, 1, 2, 50, 300, 4999, 5000, 9000] {
            top(&values, count, &mut found);
            assert_eq!(found, sorted[..count.min(5000)]);
        }
    }
    #[test]
    fn zeros_of_both_signs_are_equals() {
        let mut found = Vec::new();
        top(&[-0.0, 0.0, -1.0, -0.0], 3, &mut found);
        assert_eq!(found.iter().map(|&(_, index)| index).collect::<Vec<_>>(), [0, 1, 3]);
    }

    #[test]
    fn sums_are_the_same_in_any_order() {
        let weighting = Weighting { max: 0.0, temperature: 1.0, floor: f32::NEG_INFINITY };
        // From 1 down to what is rounded to nothing, in no order.
        let logits: Vec<f32> =
            (0..70_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * -2e-6).collect();
        let mut candidates: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
        let sum = weighting.sum(&logits);
        assert_eq!(sum, weighting.sum_of(&candidates));
        candidates.sort_by(best_first);
        assert_eq!(sum, weighting.sum_of(&candidates));
        let right: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        assert!((sum / right - 1.0).abs() < 1e-7, "{sum} is not {right}");
    }

    #[test]
    fn the_best_are_put_in_the_order_of_their_indices() {
        let values = [3.0, f32::NEG_INFINITY, 1.0, 2.0, 3.0, 2.0];
        let mut best = vec![(3.0, 4), (2.0, 3), (3.0, 0)];
        put_in_order(&values, &mut best);
        assert_eq!(best, [(3.0, 0), (2.0, 3), (3.0, 4)]);
        best.clear();
        put_in_order(&values, &mut best);
        assert_eq!(best, []);
    }
}
