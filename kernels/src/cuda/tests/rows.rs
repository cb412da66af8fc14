//! Lookups and norms of whole rows.

use super::*;
use crate::reference::{dequantize_row, rms_norm};

const EPS: f32 = 1e-5;

/// Checks what is left for the next product: exactly what the hidden state implies.
fn assert_next(hidden: &[f32], norm: &[f32], x: &[f32], stride: usize, squares: &[f32]) {
    let rows = hidden.chunks_exact(norm.len()).zip(x.chunks_exact(stride)).zip(squares);
    for ((hidden, x), squares) in rows {
        let scaled: Vec<f32> = hidden.iter().zip(norm).map(|(h, norm)| h * norm).collect();
        assert_eq!(x[..norm.len()], rounded(&scaled).1);
        let right: f32 = hidden.iter().map(|h| h * h).sum();
        assert!((squares - right).abs() <= 1e-5 * right, "{squares} is not {right}");
    }
}

#[test]
fn looks_tokens_up_in_every_format() {
    let mut random = Random::new(9);
    for dtype in DTYPES {
        let (vocabulary, width) = (19, 768);
        let table = random_rows(&mut random, dtype, vocabulary, width);
        let (norm, tokens) = (random.normal(width), [18_u32, 0, 7]);
        let scale = 1.5;
        let found = on_devices(|gpu| {
            let table = device_matrix(gpu, dtype, width, &table);
            let tokens = Buffer::from_slice(gpu, &tokens).unwrap();
            let norm = Buffer::from_slice(gpu, &norm).unwrap();
            let mut hidden = poisoned(gpu, 3 * width);
            let (mut x, mut squares) = (poisoned(gpu, 3 * width), poisoned(gpu, 3));
            Embed {
                table: &table,
                // SAFETY: all tokens are below the vocabulary.
                tokens: unsafe { Indices::new(tokens.view(), vocabulary) },
                scale,
                hidden: hidden.view_mut(),
                next: Next {
                    norm: norm.view(),
                    x: x.view_mut(),
                    stride: width,
                    squares: squares.view_mut(),
                },
            }
            .run(gpu)
            .unwrap();
            [read(gpu, &hidden), widened(&read(gpu, &x)), read(gpu, &squares)].concat()
        });
        let (hidden, rest) = found.split_at(3 * width);
        let row_bytes = dtype.row_bytes(width).unwrap();
        for (hidden, token) in hidden.chunks_exact(width).zip(tokens) {
            let mut right = vec![0.0; width];
            dequantize_row(dtype, &table[token as usize * row_bytes..][..row_bytes], &mut right);
            right.iter_mut().for_each(|value| *value *= scale);
            assert_close(hidden, &right, 1e-6);
        }
        assert_next(hidden, &norm, &rest[..3 * width], width, &rest[3 * width..]);
    }
}

#[test]
fn adds_what_is_normalized_first() {
    let mut random = Random::new(10);
    let (rows, width, stride) = (3, 300, 384);
    let [product, before] = [0, 1].map(|_| random.normal(rows * width));
    let [post_norm, norm] = [0, 1].map(|_| random.normal(width));
    let found = on_devices(|gpu| {
        let upload = |values: &[f32]| Buffer::from_slice(gpu, values).unwrap();
        let (product, mut hidden) = (upload(&product), upload(&before));
        let (post_norm, norm) = (upload(&post_norm), upload(&norm));
        let mut x = Buffer::zeros(gpu, rows * stride).unwrap();
        let mut squares = poisoned(gpu, rows);
        AddNormed {
            product: product.view(),
            post_norm: post_norm.view(),
            eps: EPS,
            rows,
            hidden: hidden.view_mut(),
            next: Next { norm: norm.view(), x: x.view_mut(), stride, squares: squares.view_mut() },
        }
        .run(gpu)
        .unwrap();
        [read(gpu, &hidden), widened(&read(gpu, &x)), read(gpu, &squares)].concat()
    });
    let (hidden, rest) = found.split_at(rows * width);
    let mut right = product.clone();
    right.chunks_exact_mut(width).for_each(|row| rms_norm(row, &post_norm, EPS));
    right.iter_mut().zip(&before).for_each(|(value, before)| *value += before);
    assert_close(hidden, &right, 1e-6);
    assert_next(hidden, &norm, &rest[..rows * stride], stride, &rest[rows * stride..]);
}

#[test]
fn norms_the_rows_that_are_named() {
    let mut random = Random::new(11);
    let (width, named) = (257, [2_u32, 0]);
    let (hidden, norm) = (random.normal(3 * width), random.normal(width));
    let found = on_devices(|gpu| {
        let hidden = Buffer::from_slice(gpu, &hidden).unwrap();
        let norm = Buffer::from_slice(gpu, &norm).unwrap();
        let named = Buffer::from_slice(gpu, &named).unwrap();
        let mut out = poisoned(gpu, 2 * width);
        Normed {
            hidden: hidden.view(),
            // SAFETY: there are three rows.
            rows: unsafe { Indices::new(named.view(), 3) },
            norm: norm.view(),
            eps: EPS,
            out: out.view_mut(),
        }
        .run(gpu)
        .unwrap();
        read(gpu, &out)
    });
    for (found, row) in found.chunks_exact(width).zip(named) {
        let mut right = hidden[row as usize * width..][..width].to_vec();
        rms_norm(&mut right, &norm, EPS);
        assert_close(found, &right, 1e-6);
    }
}
