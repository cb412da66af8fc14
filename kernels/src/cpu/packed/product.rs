//! Products of some groups with some tokens: how they are cut into tiles.
//!
//! A tile is as many groups as a register holds, and a few tokens: what is unpacked of the weights
//! serves all of these tokens, and each activation that is read all of these rows.

#![allow(clippy::needless_range_loop, reason = "fixed counts are unrolled into registers")]

use super::format::{Format, Input, split, with_format};
use super::{GROUP, PackedMatrix};
use crate::cpu::activations::{ActivationRows, Activations};
use crate::cpu::simd::{Groups, GroupsTask, Isa, Simd, Task};
use std::ops::Range;

/// Bytes between what is multiplied and what is fetched: what a core reads while memory answers.
const LOOK_AHEAD: usize = 8 << 10;

/// Tokens that one pass over a group's weights serves.
const TILE: usize = 4;

impl PackedMatrix {
    /// `out[g * tokens.len() + i][r] = row (8 * (groups.start + g) + r) . x[tokens.start + i]`, on
    /// this thread. Pairs of groups are faster than single ones.
    ///
    /// Lanes of rows that the matrix does not have are 0.
    ///
    /// # Panics
    /// If there are no such groups, `x` has other columns, no such tokens or was not filled with
    /// [`PackedMatrix::kind`], or `out` is not one for each group and token.
    pub fn product(
        &self,
        isa: Isa,
        groups: Range<usize>,
        x: &Activations,
        tokens: Range<usize>,
        out: &mut [[f32; GROUP]],
    ) {
        let until = groups.end;
        self.product_of(isa, groups, until, &x.view(), tokens, out);
    }

    /// Asks for the memory of the first groups from `group` on, before `until`, which are to be
    /// multiplied soon: as far ahead as a running product looks.
    pub(crate) fn prefetch(&self, isa: Isa, group: usize, until: usize) {
        let ahead = group + LOOK_AHEAD.div_ceil(self.group_bytes);
        isa.run(Prefetch(self.groups_between(group, ahead.min(until))));
    }

    /// As [`PackedMatrix::product`]. The groups up to `until` are to follow on this thread: they
    /// are fetched from memory meanwhile.
    #[inline]
    pub(crate) fn product_of(
        &self,
        isa: Isa,
        groups: Range<usize>,
        until: usize,
        x: &ActivationRows<'_>,
        tokens: Range<usize>,
        out: &mut [[f32; GROUP]],
    ) {
        assert_eq!(x.cols, self.cols, "activations are as long as the rows");
        assert!(groups.end <= self.groups(), "groups {groups:?} of {}", self.groups());
        assert_eq!(out.len(), groups.len() * tokens.len(), "one output for each group and token");
        with_format!(self.dtype, T => {
            let per_row = self.cols / T::DTYPE.block_len();
            let x = &<T as Input>::of(x)[tokens.start * per_row..tokens.end * per_row];
            let tokens = tokens.len();
            let ahead = LOOK_AHEAD.div_ceil(self.group_bytes);
            isa.run_groups(Product::<T> {
                matrix: self, groups, ahead, until, x, tokens, per_row, out,
            });
        });
    }
}

/// Asks for memory.
struct Prefetch<'a>(&'a [u8]);

impl Task for Prefetch<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        s.prefetch(self.0);
    }
}

/// Some groups against some tokens.
struct Product<'a, T: Format> {
    matrix: &'a PackedMatrix,
    groups: Range<usize>,
    /// The group so many after the one that is multiplied is fetched, before `until`.
    ahead: usize,
    until: usize,
    x: &'a [T::Input],
    tokens: usize,
    per_row: usize,
    /// For each group, one for each token.
    out: &'a mut [[f32; GROUP]],
}

impl<T: Format> GroupsTask for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const G: usize, S: Groups<G>>(mut self, s: S) {
        let mut done = 0;
        // For one token memory is the bound, and one group after the other is read best.
        if G > 1 && self.tokens > 1 {
            while done + G <= self.groups.len() {
                self.all_tokens(s, done);
                done += G;
            }
        }
        for group in done..self.groups.len() {
            self.all_tokens(s.one(), group);
        }
    }
}

impl<T: Format> Product<'_, T> {
    /// `G` groups from the given one on against all tokens.
    #[inline(always)]
    fn all_tokens<const G: usize, S: Groups<G>>(&mut self, s: S, group: usize) {
        let (tokens, mut first) = (self.tokens, 0);
        while S::HAS_32_REGISTERS && first + 2 * TILE <= tokens {
            self.tile::<G, S, { 2 * TILE }>(s, group, first);
            first += 2 * TILE;
        }
        while first + TILE <= tokens {
            self.tile::<G, S, TILE>(s, group, first);
            first += TILE;
        }
        match tokens - first {
            0 => {}
            1 => self.tile::<G, S, 1>(s, group, first),
            2 => self.tile::<G, S, 2>(s, group, first),
            _ => self.tile::<G, S, 3>(s, group, first),
        }
    }

    /// The same against `M` tokens from `first` on.
    #[inline(always)]
    fn tile<const G: usize, S: Groups<G>, const M: usize>(
        &mut self,
        s: S,
        group: usize,
        first: usize,
    ) {
        let mut x: [&[T::Input]; M] = [&[]; M];
        for (m, x) in x.iter_mut().enumerate() {
            *x = &self.x[(first + m) * self.per_row..][..self.per_row];
        }
        let at = self.groups.start + group;
        let mut planes = [[&[][..]; G]; 4];
        for g in 0..G {
            for (plane, of_group) in planes.iter_mut().zip(split::<T>(self.matrix.group(at + g))) {
                plane[g] = of_group;
            }
        }
        let ahead = at + self.ahead.max(G);
        // Once is enough.
        let next = if first == 0 { ahead..self.until.min(ahead + G) } else { 0..0 };
        let next = self.matrix.groups_between(next.start, next.end);
        let sums = T::product(s, planes, next, x);
        let mut lanes = [[[0.0; GROUP]; G]; M];
        for m in 0..M {
            lanes[m] = s.lanes_of(sums[m]);
        }
        for g in 0..G {
            let out = self.out[(group + g) * self.tokens + first..].first_chunk_mut::<M>();
            let out = out.expect("the caller leaves M");
            for m in 0..M {
                out[m] = lanes[m][g];
            }
        }
    }
}
