//! The highest logit.

use super::*;

fn argmax(logits: &[f32], vocab: usize) -> Vec<u32> {
    let found = on_devices(|gpu| {
        let values = Buffer::from_slice(gpu, logits).unwrap();
        let mut tokens = poisoned(gpu, logits.len() / vocab);
        Argmax { logits: values.view(), vocab, tokens: tokens.view_mut() }.run(gpu).unwrap();
        read::<u32>(gpu, &tokens).into_iter().map(f32::from_bits).collect()
    });
    found.into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_highest_and_of_equals_the_first() {
    let mut random = Random::new(12);
    for vocab in [1, 31, 1024, 2077] {
        let rows = 3;
        let mut logits = random.normal(rows * vocab);
        let right: Vec<u32> = (0..rows as u32)
            .map(|row| {
                let first = random.next() as usize % vocab;
                let row = &mut logits[row as usize * vocab..][..vocab];
                row[first] = 50.0;
                row[first + random.next() as usize % (vocab - first)] = 50.0;
                first as u32
            })
            .collect();
        assert_eq!(argmax(&logits, vocab), right);
    }
}

#[test]
fn signs_and_what_is_no_number() {
    let infinite = f32::NEG_INFINITY;
    assert_eq!(argmax(&[-3.0, -1.0, -2.0, infinite], 4), [1]);
    assert_eq!(argmax(&[-0.0, 0.0], 2), [0]);
    assert_eq!(argmax(&[0.0, -0.0], 2), [0]);
    assert_eq!(argmax(&[infinite, infinite], 2), [0]);
    assert_eq!(argmax(&[1.0, f32::INFINITY], 2), [1]);
    let mut logits = vec![1.0; 1500];
    for nan in [f32::NAN, -f32::NAN] {
        logits[1200] = nan;
        logits[3] = f32::INFINITY;
        assert_eq!(argmax(&logits, 1500), [NO_TOKEN]);
    }
}
