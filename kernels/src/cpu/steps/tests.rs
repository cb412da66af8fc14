//! The fused steps against the same computed piece by piece, to the bit.

use super::*;
use crate::DType;
use crate::cpu::elementwise::rotate;
use crate::cpu::testing::Random;
use crate::cpu::{Activations, Arena, GateActivation, KvCache, KvShape};
use crate::reference::{QuantizedRow, RopePairs, quantized_dot};
use half::f16;

const WIDTH: usize = 64;
const ROWS: usize = 5;

/// A matrix, packed and as in the file.
struct Matrix {
    dtype: DType,
    bytes: Vec<u8>,
    packed: PackedMatrix,
}

impl Matrix {
    fn new(random: &mut Random, cpu: &mut Cpu, dtype: DType, rows: usize, cols: usize) -> Self {
        let mut bytes = random.bytes(rows * dtype.row_bytes(cols).unwrap());
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            block[..2].copy_from_slice(&f16::from_f32(random.in_range(-0.01, 0.01)).to_le_bytes());
        }
        let room = PackedMatrix::arena_bytes(dtype, rows, cols).unwrap();
        let mut arena = Arena::new(room).unwrap();
        let packed = PackedMatrix::pack(dtype, rows, cols, &bytes, &mut arena, cpu.pool()).unwrap();
        Matrix { dtype, bytes, packed }
    }

    fn times(&self, x: &[f32]) -> Vec<f32> {
        let x = QuantizedRow::quantize(x, self.dtype.block_len());
        let rows = self.bytes.chunks_exact(self.bytes.len() / self.packed.rows());
        rows.map(|row| quantized_dot(self.dtype, row, &x)).collect()
    }
}

fn normed(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    rms_norm(Isa::detect(), x, weight, 1e-5, &mut out);
    out
}

fn each_cpu(test: impl Fn(&mut Cpu)) {
    for isa in Isa::available() {
        test(&mut Cpu::new(1, isa, WIDTH).unwrap());
    }
    for threads in [2, 3] {
        test(&mut Cpu::new(threads, Isa::detect(), WIDTH).unwrap());
    }
}

fn memory() -> Activations {
    Activations::new(ROWS * 256, kinds_of([]).with(crate::cpu::ActivationKind::Block32))
}

#[test]
fn project_heads() {
    each_cpu(|cpu| {
        let mut random = Random::new(10);
        let dim = 16;
        let mut part = |heads| {
            (
                Matrix::new(&mut random, cpu, DType::Q8_0, heads * dim, WIDTH),
                random.normal(heads * dim),
                random.normal(dim),
            )
        };
        let (q, k, v) = (part(3), part(1), part(1));
        let (hidden, weight) = (random.normal(ROWS * WIDTH), random.normal(WIDTH));
        let (cos, sin) = (random.normal(ROWS * dim / 2), random.normal(ROWS * dim / 2));
        let slots = [40, 3, 17, 16, 0];
        let shape = KvShape { layers: 1, blocks: 3, heads: 1, head_dim: dim };
        let mut cache = KvCache::new(shape).unwrap();
        let mut queries = vec![f32::NAN; ROWS * 3 * dim];
        let pairs = RopePairs::Halves;
        ProjectHeads {
            input: Normed { hidden: &hidden, weight: &weight, eps: 1e-5 },
            q: Projection { matrix: &q.0.packed, bias: Some(&q.1), norm: Some(&q.2) },
            k: Projection { matrix: &k.0.packed, bias: None, norm: Some(&k.2) },
            v: Projection { matrix: &v.0.packed, bias: Some(&v.1), norm: None },
            head_dim: dim,
            cos: &cos,
            sin: &sin,
            pairs,
            slots: &slots,
            cache: &mut cache,
            layer: 0,
            activations: &mut memory(),
            queries: &mut queries,
        }
        .run(cpu);
        for row in 0..ROWS {
            let x = normed(&hidden[row * WIDTH..(row + 1) * WIDTH], &weight);
            let turn = |head: &mut [f32], norm: &[f32]| {
                head.copy_from_slice(&normed(head, norm));
                let half = row * dim / 2..(row + 1) * dim / 2;
                rotate(Isa::detect(), head, &cos[half.clone()], &sin[half], pairs);
            };
            let biased = |x: Vec<f32>, bias: &[f32]| -> Vec<f32> {
                x.iter().zip(bias).map(|(x, bias)| x + bias).collect()
            };
            let mut expected = biased(q.0.times(&x), &q.1);
            expected.chunks_exact_mut(dim).for_each(|head| turn(head, &q.2));
            assert_eq!(queries[row * 3 * dim..(row + 1) * 3 * dim], expected);

            let (block, place) = (slots[row] / 16, slots[row] as usize % 16);
            let mut key = k.0.times(&x);
            turn(&mut key, &k.2);
            let keys = cache.layer(0).keys(block, 0);
            let value = biased(v.0.times(&x), &v.1);
            let values = cache.layer(0).values(block, 0);
            for d in 0..dim {
                assert_eq!(keys[d][place / 8][place % 8], f16::from_f32(key[d]).to_bits());
                let found = values[place * dim / 16 + d / 16][d / 8 % 2][d % 8];
                assert_eq!(found, f16::from_f32(value[d]).to_bits());
            }
        }
    });
}

#[test]
#[should_panic(expected = "slot 3 is written twice")]
fn slots_must_differ() {
    let shape = KvShape { layers: 1, blocks: 1, heads: 1, head_dim: 16 };
    KvCache::new(shape).unwrap().writer(0, &[3, 2, 3]);
}

#[test]
fn add_product() {
    each_cpu(|cpu| {
        let mut random = Random::new(11);
        // 60 rows: the last group is not full.
        let matrix = Matrix::new(&mut random, cpu, DType::Q5_0, 60, 96);
        let (input, hidden) = (random.normal(ROWS * 96), random.normal(ROWS * 60));
        let weight = random.normal(60);
        for with_norm in [false, true] {
            let (mut found, mut scratch) = (hidden.clone(), vec![0.0; ROWS * 60]);
            AddProduct {
                input: &input,
                matrix: &matrix.packed,
                post_norm: with_norm.then_some((&weight, 1e-5, &mut scratch)),
                activations: &mut memory(),
                hidden: &mut found,
            }
            .run(cpu);
            for row in 0..ROWS {
                let mut product = matrix.times(&input[row * 96..(row + 1) * 96]);
                if with_norm {
                    product = normed(&product, &weight);
                }
                let place = row * 60..(row + 1) * 60;
                let expected: Vec<f32> =
                    hidden[place.clone()].iter().zip(product).map(|(h, x)| h + x).collect();
                assert_eq!(found[place], expected);
            }
        }
    });
}

#[test]
fn gate_up() {
    each_cpu(|cpu| {
        let mut random = Random::new(12);
        let inner = 44;
        let gate = Matrix::new(&mut random, cpu, DType::Q8_0, inner, WIDTH);
        let up = Matrix::new(&mut random, cpu, DType::Q5_0, inner, WIDTH);
        let (hidden, weight) = (random.normal(ROWS * WIDTH), random.normal(WIDTH));
        let mut found = vec![f32::NAN; ROWS * inner];
        GateUp {
            input: Normed { hidden: &hidden, weight: &weight, eps: 1e-5 },
            gate: &gate.packed,
            up: &up.packed,
            activation: GateActivation::GeluTanh,
            activations: &mut memory(),
            out: &mut found,
        }
        .run(cpu);
        for (row, found) in found.chunks_exact(inner).enumerate() {
            let x = normed(&hidden[row * WIDTH..(row + 1) * WIDTH], &weight);
            let products = gate.times(&x).into_iter().zip(up.times(&x));
            for ((gate, up), found) in products.zip(found) {
                let expected = crate::reference::gelu_tanh(gate) * up;
                assert!((expected - found).abs() <= 2e-6 * expected.abs().max(1.0));
            }
        }
    });
}

#[test]
fn logits() {
    each_cpu(|cpu| {
        let mut random = Random::new(13);
        let matrix = Matrix::new(&mut random, cpu, DType::Q8_0, 101, WIDTH);
        let (hidden, weight) = (random.normal(ROWS * WIDTH), random.normal(WIDTH));
        let mut found = vec![f32::NAN; ROWS * 101];
        Logits {
            input: Normed { hidden: &hidden, weight: &weight, eps: 1e-5 },
            rows: ROWS,
            matrix: &matrix.packed,
            softcap: None,
            activations: &mut memory(),
            out: &mut found,
        }
        .run(cpu);
        for (row, found) in found.chunks_exact(101).enumerate() {
            let x = normed(&hidden[row * WIDTH..(row + 1) * WIDTH], &weight);
            assert_eq!(*found, matrix.times(&x));
        }
    });
}

#[test]
fn nothing_to_do_is_no_error() {
    let mut cpu = Cpu::new(2, Isa::detect(), WIDTH).unwrap();
    let matrix = Matrix::new(&mut Random::new(14), &mut cpu, DType::Q8_0, 8, WIDTH);
    AddProduct {
        input: &[],
        matrix: &matrix.packed,
        post_norm: None,
        activations: &mut memory(),
        hidden: &mut [],
    }
    .run(&mut cpu);
}
