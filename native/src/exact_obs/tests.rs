use super::row::{PENDING, Row};
use super::*;
use crate::dtype::DType;
use crate::matrices::tests::{definite, values};

/// The inverse of a symmetric positive definite matrix by Gauss and Jordan, over the columns that `kept` names.
fn inverse_of(matrix: &[f64], n: usize, kept: &[usize]) -> Vec<f64> {
    let m = kept.len();
    let mut work: Vec<Vec<f64>> = (0..m)
        .map(|i| {
            let mut line: Vec<f64> = kept.iter().map(|&j| matrix[kept[i] * n + j]).collect();
            line.extend((0..m).map(|j| f64::from(u8::from(i == j))));
            line
        })
        .collect();
    for pivot in 0..m {
        let factor = work[pivot][pivot];
        work[pivot].iter_mut().for_each(|x| *x /= factor);
        let line = work[pivot].clone();
        for (i, row) in work.iter_mut().enumerate().filter(|(i, _)| *i != pivot) {
            let factor = row[pivot];
            let _ = i;
            row.iter_mut().zip(&line).for_each(|(x, y)| *x -= factor * y);
        }
    }
    work.iter().flat_map(|line| line[m..].to_vec()).collect()
}

#[test]
fn the_inverse_without_some_columns_is_that_of_the_matrix_without_them() {
    for n in [5, 40, 100] {
        let hessian = values(&definite(DType::F64, n));
        let all: Vec<usize> = (0..n).collect();
        let inverse = inverse_of(&hessian, n, &all);
        let mut row = Row::new(n, 1).unwrap();
        let weight: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin()).collect();
        row.begin(&weight, &inverse).unwrap();
        let goes: Vec<usize> = (0..n * 3 / 4).map(|i| i * 7 % n).collect();
        let gone: std::collections::BTreeSet<usize> = goes.iter().copied().collect();
        for &column in &gone {
            let place = place_of(&row, column);
            row.remove(place, 0.0, |_| {}).unwrap().unwrap();
        }
        row.settle(|_| {}).unwrap();
        let kept: Vec<usize> = (0..n).filter(|c| !gone.contains(c)).collect();
        let want = inverse_of(&hessian, n, &kept);
        let largest = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        for (i, &a) in kept.iter().enumerate() {
            for (j, &b) in kept.iter().enumerate().filter(|(j, _)| *j <= i) {
                let found = row.entry(place_of(&row, a), place_of(&row, b)).unwrap();
                assert!(
                    (found - want[i * kept.len() + j]).abs() <= 1e-8 * largest,
                    "{n}: {a}, {b}"
                );
            }
        }
    }
}

#[test]
fn the_second_run_repeats_the_first_whatever_the_counts() {
    let (rows, n) = (3, 2 * PENDING + 9);
    let hessian = values(&definite(DType::F64, n));
    let inverse = inverse_of(&hessian, n, &(0..n).collect::<Vec<_>>());
    let weight: Vec<f64> = (0..rows * n).map(|i| ((i * i) as f64 * 0.3).sin()).collect();
    let problem = Problem {
        rows,
        columns: n,
        weight: &weight,
        inverse: &inverse,
        mask: None,
    };
    for width in [1, 4] {
        let units = n.div_ceil(width);
        let (mut order, mut losses) = (vec![0; rows * units], vec![0.0; rows * units]);
        assert_eq!(problem.trace(width, &mut order, &mut losses).unwrap(), None);
        let counts: Vec<u32> = [0, units / 2, units]
            .iter()
            .flat_map(|&count| vec![count as u32; rows])
            .collect();
        let mut out = vec![f64::NAN; 3 * rows * n];
        assert_eq!(problem.rows_at(width, &order, &counts, &mut out).unwrap(), None);
        assert_eq!(out[..rows * n], weight[..]);
        assert!(out[2 * rows * n..].iter().all(|&x| x == 0.0));
        for row in 0..rows {
            let energy = |w: &[f64]| -> f64 {
                (0..n)
                    .flat_map(|i| (0..n).map(move |j| (i, j)))
                    .map(|(i, j)| w[i] * hessian[i * n + j] * w[j])
                    .sum()
            };
            let old = &weight[row * n..][..n];
            let half: Vec<f64> = old
                .iter()
                .zip(&out[(rows + row) * n..][..n])
                .map(|(a, b)| a - b)
                .collect();
            let sum: f64 = losses[row * units..][..units / 2].iter().sum();
            assert!((2.0 * sum / energy(&half) - 1.0).abs() < 1e-10);
            let all: f64 = losses[row * units..][..units].iter().sum();
            assert!((2.0 * all / energy(old) - 1.0).abs() < 1e-10);
        }
    }
}
