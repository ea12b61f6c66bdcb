use super::*;
use crate::matrices::tests::normal;

fn numbers(x: &View) -> &[f32] {
    x.slice().unwrap()
}

fn order_of(size: usize) -> View {
    let order = View::empty(DType::U32, &[size]).unwrap();
    // 7919 is a prime above all sizes here.
    let places = (0..size).map(|place| ((place * 7919 + 3) % size) as u32);
    let target = order.slice_mut::<u32>().unwrap();
    target
        .iter_mut()
        .zip(places)
        .for_each(|(to, column)| *to = column);
    order
}

/// By the equations, in f64.
fn reference(
    x: &[f32],
    order: &[u32],
    (left, right): (&View, &View),
    factors: &[f32],
    back: bool,
) -> Vec<f64> {
    let (a, b) = (left.shape[0], right.shape[0]);
    let column = |place: usize| order[place] as usize;
    let wide = |x: &[f32], at: usize| f64::from(x[at]);
    let mut t: Vec<f64> = (0..x.len())
        .map(|place| {
            if back {
                wide(x, place)
            } else {
                wide(x, column(place)) * wide(factors, column(place))
            }
        })
        .collect();
    let tile = t.clone();
    for i in 0..a {
        for j in 0..b {
            t[i * b + j] = (0..a)
                .flat_map(|k| (0..b).map(move |l| (k, l)))
                .map(|(k, l)| {
                    wide(numbers(left), i * a + k) * tile[k * b + l] * wide(numbers(right), l * b + j)
                })
                .sum();
        }
    }
    if !back {
        return t;
    }
    let mut y = vec![0.0; x.len()];
    for (place, t) in t.into_iter().enumerate() {
        y[column(place)] = t * wide(factors, column(place));
    }
    y
}

const SIZES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (1, 7, 7),
    (3, 5, 17),
    (4, 16, 64),
    (24, 24, 576),
    (28, 36, 1009),
    (1, 251, 251),
    (31, 33, 1024),
];

#[test]
fn rows_are_turned_there_and_back_as_the_equations_say() {
    for (a, b, size) in SIZES {
        let (x, order) = (normal(DType::F32, 3, size), order_of(size));
        let factors = View::empty(DType::F32, &[size]).unwrap();
        let own = factors.slice_mut::<f32>().unwrap();
        own.iter_mut()
            .enumerate()
            .for_each(|(i, factor)| *factor = 0.5 + (i % 5) as f32);
        let (left, right) = (normal(DType::F32, a, a), normal(DType::F32, b, b));
        for back in [false, true] {
            let found = turn(&x, &order, (&left, &right), Some(&factors), back).unwrap();
            for (x, y) in numbers(&x).chunks(size).zip(numbers(&found).chunks(size)) {
                let want = reference(
                    x,
                    order.slice().unwrap(),
                    (&left, &right),
                    numbers(&factors),
                    back,
                );
                let scale = want.iter().fold(0.0f64, |most, want| most.max(want.abs()));
                for (y, want) in y.iter().zip(&want) {
                    assert!(
                        (f64::from(*y) - want).abs() <= 1e-5 * scale,
                        "{a} x {b} of {size}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_for_every_number_of_threads() {
    let size = 101 * 90 + 5;
    let (x, order) = (normal(DType::F32, 5, size), order_of(size));
    let (left, right) = (normal(DType::F32, 101, 101), normal(DType::F32, 90, 90));
    let of = |rows: usize, back: bool| {
        let some = View::empty(DType::F32, &[rows, size]).unwrap();
        some.slice_mut::<f32>()
            .unwrap()
            .copy_from_slice(&numbers(&x)[..rows * size]);
        let found = turn(&some, &order, (&left, &right), None, back).unwrap();
        numbers(&found)[..size]
            .iter()
            .map(|y| y.to_bits())
            .collect::<Vec<_>>()
    };
    let before = parallel::threads().unwrap();
    for back in [false, true] {
        let want = of(5, back);
        for threads in [1, 2, 3] {
            parallel::set_threads(threads).unwrap();
            assert!(of(1, back) == want && of(2, back) == want && of(5, back) == want);
        }
    }
    parallel::set_threads(before).unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, order) = (normal(DType::F32, 2, 12), order_of(12));
    let (three, four, five) = (
        normal(DType::F32, 3, 3),
        normal(DType::F32, 4, 4),
        normal(DType::F32, 5, 5),
    );
    let code =
        |order: &View, factors: (&View, &View)| turn(&x, order, factors, None, false).err().unwrap().code;
    assert_eq!(code(&order, (&three, &five)), "PARE_E_SHAPE");
    assert_eq!(code(&order_of(11), (&three, &four)), "PARE_E_SHAPE");
    let far = order_of(12);
    far.slice_mut::<u32>().unwrap()[3] = 12;
    assert_eq!(code(&far, (&three, &four)), "PARE_E_SHAPE");
}
