//! Choosing tokens, by what can be seen without a second sampler: which ids are kept is seen by
//! drawing at the ends, how they weigh by where between. (The host's sampler, which must choose the
//! same, is in the crate above; its tests compare.)

use super::*;

/// The highest of all, no log probabilities.
const GREEDY: Choice = Choice {
    random: 0.0,
    row: 0,
    temperature: 0.0,
    top_k: 0,
    top_p: 1.0,
    floor: f32::NEG_INFINITY,
    repetition_penalty: 1.0,
    frequency_penalty: 0.0,
    presence_penalty: 0.0,
    first_change: 0,
    num_changes: 0,
    mask: NO_MASK,
    num_top: NO_LOGPROBS,
};

const HOT: Choice = Choice { temperature: 1.0, ..GREEDY };
/// The highest number that is drawn.
const LAST: f64 = 1.0 - f64::EPSILON / 2.0;

/// The words of each choice.
fn sample(
    (logits, vocab): (&[f32], usize),
    choices: &[Choice],
    changes: &[Change],
    masks: &[u32],
) -> Vec<Vec<u32>> {
    let found = on_devices(|gpu| {
        let mut logits = Buffer::from_slice(gpu, logits).unwrap();
        let choices = Buffer::from_slice(gpu, choices).unwrap();
        let mut changes = Buffer::from_slice(gpu, changes).unwrap();
        let masks = Buffer::from_slice(gpu, masks).unwrap();
        let mut chosen = poisoned(gpu, choices.len() * CHOSEN_WORDS);
        let rows = logits.len() / vocab;
        Sample {
            logits: logits.view_mut(),
            vocab,
            // SAFETY: tests give rows, changes and masks that there are.
            choices: unsafe {
                let changes = changes.view_mut();
                Choices::new(choices.view(), changes, masks.view(), [rows, vocab])
            },
            chosen: chosen.view_mut(),
        }
        .run(gpu)
        .unwrap();
        read::<u32>(gpu, &chosen).into_iter().map(f32::from_bits).collect()
    });
    found.chunks(CHOSEN_WORDS).map(bits).collect()
}

fn tokens(logits: (&[f32], usize), choices: &[Choice]) -> Vec<Result<u32, NoToken>> {
    let words = sample(logits, choices, &[], &[]);
    words.iter().map(|words| Chosen::new(words).token()).collect()
}

/// What one row gives with each of these, the rest as it is.
fn each(logits: &[f32], choices: &[Choice]) -> Vec<u32> {
    let rows = logits.repeat(choices.len());
    let choices: Vec<Choice> =
        choices.iter().zip(0..).map(|(choice, row)| Choice { row, ..*choice }).collect();
    tokens((&rows, logits.len()), &choices).into_iter().map(Result::unwrap).collect()
}

#[test]
fn the_highest_and_of_equals_the_first() {
    let mut random = Random::new(12);
    for vocab in [1, 31, 1024, 2077] {
        let mut logits = random.normal(3 * vocab);
        let right = [2, 0, 1].map(|row: u32| {
            let first = random.next() as usize % vocab;
            let values = &mut logits[row as usize * vocab..][..vocab];
            values[first] = 50.0;
            values[first + random.next() as usize % (vocab - first)] = 50.0;
            Ok(first as u32)
        });
        let choices = [2, 0, 1].map(|row| Choice { row, ..GREEDY });
        assert_eq!(tokens((&logits, vocab), &choices), right);
    }
}

#[test]
fn signs_and_what_is_no_number() {
    let (infinite, nan) = (f32::INFINITY, f32::NAN);
    for choice in [GREEDY, Choice { top_k: 1, ..HOT }, Choice { top_p: 0.0, ..HOT }] {
        let one = |logits: &[f32]| tokens((logits, logits.len()), &[choice])[0];
        assert_eq!(one(&[-3.0, -1.0, -2.0, -infinite]), Ok(1));
        assert_eq!(one(&[-0.0, 0.0]), Ok(0));
        assert_eq!(one(&[0.0, -0.0]), Ok(0));
        assert_eq!(one(&[-infinite, f32::MIN]), Ok(1));
        assert_eq!(one(&[-infinite, -infinite]), Err(NoToken::NothingAllowed));
        assert_eq!(one(&[1.0, infinite]), Err(NoToken::NotFinite));
        let mut logits = vec![1.0; 1500];
        for nan in [nan, -nan] {
            logits[1200] = nan;
            logits[3] = infinite;
            assert_eq!(one(&logits), Err(NoToken::NotFinite));
        }
    }
}

#[test]
fn draws_by_weight_in_the_order_of_ids() {
    // Weights of 1, 2 and 1; id 2 has none.
    let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 0.0];
    let draws = [0.0, 0.24, 0.26, 0.74, 0.76, LAST].map(|random| Choice { random, ..HOT });
    assert_eq!(each(&logits, &draws), [0, 0, 1, 1, 3, 3]);
    // Twice as hot: of 1, 1.41 and 1.
    let draws = [0.29, 0.3, 0.7, 0.71].map(|random| Choice { random, temperature: 2.0, ..HOT });
    assert_eq!(each(&logits, &draws), [0, 1, 1, 3]);
    // Less than half as likely as the best.
    let floor = 0.6f32.ln();
    let draws = [0.0, LAST].map(|random| Choice { random, floor, ..HOT });
    assert_eq!(each(&logits, &draws), [1, 1]);
    // So many that each thread has several, and so few that most have none.
    for vocab in [1, 7, 5003] {
        let draws = [0.0, 0.1, 0.5, 0.999, LAST].map(|random| Choice { random, ..HOT });
        let right = draws.map(|draw| (draw.random * vocab as f64) as u32);
        assert_eq!(each(&vec![-7.5; vocab], &draws), right);
    }
}

/// The lowest and the highest id that can be drawn, and the one in the middle.
fn kept(logits: &[f32], choice: Choice) -> Vec<u32> {
    each(logits, &[0.0, 0.5, LAST].map(|random| Choice { random, ..choice }))
}

#[test]
fn keeps_the_best_however_many_they_are() {
    let flat = vec![0.25; 3000];
    for count in [2, 511, 512, 513, 1500, 2999] {
        let (top_k, half) = (count, count / 2);
        // Of equals those with the lowest ids.
        assert_eq!(kept(&flat, Choice { top_k, ..HOT }), [0, half, count - 1]);
        let top_p = (f64::from(count) - 0.5) as f32 / 3000.0;
        assert_eq!(kept(&flat, Choice { top_p, ..HOT }), [0, half, count - 1]);
        // The nucleus is of what `top_k` leaves.
        let choice = Choice { top_k, top_p: 0.39, ..HOT };
        let last = (f64::from(count) * 0.39).ceil() as u32 - 1;
        assert_eq!(kept(&flat, choice), [0, last.div_ceil(2), last]);
    }
    // Where the best belong to one thread, which are not found by the best of each thread.
    let mut uneven = vec![-1.0; 300_000];
    (0..290).for_each(|nth| uneven[nth * 1024 + 77] = 1.0 + nth as f32 / 1024.0);
    let top_k = 100;
    assert_eq!(kept(&uneven, Choice { top_k, temperature: 1e9, ..GREEDY })[0], 190 * 1024 + 77);
    assert_eq!(kept(&uneven, Choice { top_k: 0, ..HOT })[2], 299_999);
    // Fewer are possible than are kept.
    let mut few = vec![f32::NEG_INFINITY; 3000];
    (1000..1010).for_each(|id| few[id] = 1.0);
    assert_eq!(kept(&few, Choice { top_k: 700, ..HOT }), [1000, 1005, 1009]);
    assert_eq!(kept(&few, Choice { top_k: 70, top_p: 0.5, ..HOT }), [1000, 1002, 1004]);
}

#[test]
fn changes_come_before_the_choice_and_masks_last() {
    let change = |id, count, bias| Change { id, count, bias };
    let changes = [
        change(1, NOT_COUNTED, f32::NEG_INFINITY),
        change(40, 3, 0.5),
        change(3, 0, -1.0),
        change(33, NOT_COUNTED, 100.0),
    ];
    let mut logits = [-1.0; 41];
    (logits[1], logits[3], logits[33], logits[40]) = (f32::NAN, 2.0, -80.0, 4.5);
    let choice = Choice {
        repetition_penalty: 2.0,
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        num_changes: 3,
        ..GREEDY
    };
    // Id 40 comes to 5 / 2 - 3 * 0.5 - 0.25 = 0.75, id 3 to 1 / 2.
    let rows = logits.repeat(4);
    let choices = [
        choice,
        Choice { row: 1, mask: 0, ..choice },
        Choice { row: 2, mask: 1, num_changes: 4, ..choice },
        Choice { row: 3, num_changes: 4, ..choice },
    ];
    // All but 40; nothing but 1 and 2, of which 1 is masked.
    let masks = [u32::MAX, 0xFF, 0b110, 0];
    let words = sample((&rows, 41), &choices, &changes, &masks);
    let found: Vec<u32> = words.iter().map(|words| Chosen::new(words).token().unwrap()).collect();
    assert_eq!(found, [40, 3, 2, 33]);
    let none = [0, 0];
    let words = sample((&rows, 41), &[Choice { mask: 0, ..choice }], &changes, &none);
    assert_eq!(Chosen::new(&words[0]).token(), Err(NoToken::NothingAllowed));
    // What a mask lacks has no weight either.
    let draws =
        [0.0, LAST].map(|random| Choice { random, mask: 0, row: (random > 0.5).into(), ..HOT });
    let words = sample((&[1.0; 80], 40), &draws, &[], &[0b110_0000, 0b1]);
    let found: Vec<u32> = words.iter().map(|words| Chosen::new(words).token().unwrap()).collect();
    assert_eq!(found, [5, 32]);
}

#[test]
fn log_probabilities_are_of_the_logits_before_any_change() {
    let probabilities = [0.05_f32, 0.4, 0.1, 0.25, 0.15, 0.05];
    let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() + 3.0).collect();
    let changes = [Change { id: 2, count: 1, bias: 50.0 }];
    let choice = Choice { num_changes: 1, frequency_penalty: 1.0, num_top: 3, mask: 0, ..GREEDY };
    let near = |found: f32, p: f32| assert!((found - p.ln()).abs() < 1e-6, "{found} of {p}");
    let words = sample((&logits, 6), &[choice], &changes, &[0b11_0101]);
    let chosen = Chosen::new(&words[0]);
    assert_eq!(chosen.token(), Ok(2));
    near(chosen.logprob(), 0.1);
    let top: Vec<(u32, f32)> = chosen.top().collect();
    assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 4]);
    top.iter().for_each(|&(id, logprob)| near(logprob, probabilities[id as usize]));
    // Without any, and more than there are.
    for (num_top, count) in [(0, 0), (32, 6)] {
        let words = sample((&logits, 6), &[Choice { num_top, ..GREEDY }], &[], &[]);
        let chosen = Chosen::new(&words[0]);
        near(chosen.logprob(), 0.4);
        assert_eq!((chosen.token(), chosen.top().count()), (Ok(1), count));
    }
    // The model has failed on the row, if at an id that a mask hides.
    let words =
        sample((&[f32::NAN, 1.0], 2), &[Choice { mask: 0, num_top: 0, ..GREEDY }], &[], &[2]);
    assert_eq!(Chosen::new(&words[0]).token(), Err(NoToken::NotFinite));
}
