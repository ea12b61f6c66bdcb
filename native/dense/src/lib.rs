//! faer's generic routines as plain functions of f32 and f64. They stand in a crate of their own, so that the
//! minutes their instantiation takes are spent once, beside the compilation of the kernels and not inside it.

use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::cholesky::llt::{factor as llt, inverse as llt_inverse};
use faer::linalg::lu::partial_pivoting::{factor as lu, solve as lu_solve};
use faer::linalg::qr::no_pivoting::factor as qr;
use faer::linalg::{evd, householder, svd, triangular_solve};
use faer::traits::RealField;
use faer::{Conj, Mat};

pub use faer::mat::{MatMut, MatRef};
pub use faer::{Accum, Par};

/// Why a factorisation has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// So many bytes of work space could not be had.
    Memory(usize),
    /// The pivot of this index is not usable.
    Pivot(usize),
    NoConvergence,
}

/// How a triangular matrix is read.
#[derive(Clone, Copy, Debug)]
pub struct Triangle {
    pub lower: bool,
    /// The diagonal counts as ones.
    pub unit: bool,
}

/// f32 and f64. `par` must be one constant for equal bits: some sums depend on it.
pub trait Dense: RealField + Copy + Send + Sync + 'static {
    /// out = or += alpha a b
    fn multiply(
        out: MatMut<'_, Self>,
        accumulate: Accum,
        a: MatRef<'_, Self>,
        b: MatRef<'_, Self>,
        alpha: Self,
        par: Par,
    );
    /// The lower factor in place of the lower triangle.
    fn cholesky(a: MatMut<'_, Self>, par: Par) -> Result<(), Failure>;
    /// The lower triangle of (L L^T)^-1.
    fn cholesky_inverse(out: MatMut<'_, Self>, factor: MatRef<'_, Self>, par: Par) -> Result<(), Failure>;
    fn solve_triangle(a: MatRef<'_, Self>, b: MatMut<'_, Self>, triangle: Triangle, par: Par);
    /// Overwrites a by its factors and b by the solution of a x = b.
    fn solve(a: MatMut<'_, Self>, b: MatMut<'_, Self>, par: Par) -> Result<(), Failure>;
    /// Overwrites a [m, n] by its factors (R in the upper triangle) and `basis` [m, k], given as the first columns
    /// of the identity, by the thin Q.
    fn qr(a: MatMut<'_, Self>, basis: MatMut<'_, Self>, par: Par) -> Result<(), Failure>;
    /// a = u diag(s) v^T, thin.
    fn svd(
        a: MatRef<'_, Self>,
        s: &mut [Self],
        u: MatMut<'_, Self>,
        v: MatMut<'_, Self>,
        par: Par,
    ) -> Result<(), Failure>;
    /// Reads the lower triangle; values ascend.
    fn eigh(
        a: MatRef<'_, Self>,
        values: &mut [Self],
        vectors: MatMut<'_, Self>,
        par: Par,
    ) -> Result<(), Failure>;
}

fn workspace(request: StackReq) -> Result<MemBuffer, Failure> {
    MemBuffer::try_new(request).map_err(|_| Failure::Memory(request.size_bytes()))
}

macro_rules! dense {
    ($($T:ty),*) => { $(impl Dense for $T {
        #[inline(never)]
        fn multiply(out: MatMut<'_, $T>, accumulate: Accum, a: MatRef<'_, $T>, b: MatRef<'_, $T>, alpha: $T, par: Par) {
            faer::linalg::matmul::matmul(out, accumulate, a, b, alpha, par);
        }

        #[inline(never)]
        fn cholesky(a: MatMut<'_, $T>, par: Par) -> Result<(), Failure> {
            let mut buffer = workspace(llt::cholesky_in_place_scratch::<$T>(a.nrows(), par, Default::default()))?;
            match llt::cholesky_in_place(a, Default::default(), par, MemStack::new(&mut buffer), Default::default()) {
                Err(llt::LltError::NonPositivePivot { index }) => Err(Failure::Pivot(index)),
                Ok(_) => Ok(()),
            }
        }

        #[inline(never)]
        fn cholesky_inverse(out: MatMut<'_, $T>, factor: MatRef<'_, $T>, par: Par) -> Result<(), Failure> {
            let mut buffer = workspace(llt_inverse::inverse_scratch::<$T>(factor.nrows(), par))?;
            llt_inverse::inverse(out, factor, par, MemStack::new(&mut buffer));
            Ok(())
        }

        #[inline(never)]
        fn solve_triangle(a: MatRef<'_, $T>, b: MatMut<'_, $T>, Triangle { lower, unit }: Triangle, par: Par) {
            match (lower, unit) {
                (true, false) => triangular_solve::solve_lower_triangular_in_place(a, b, par),
                (true, true) => triangular_solve::solve_unit_lower_triangular_in_place(a, b, par),
                (false, false) => triangular_solve::solve_upper_triangular_in_place(a, b, par),
                (false, true) => triangular_solve::solve_unit_upper_triangular_in_place(a, b, par),
            }
        }

        #[inline(never)]
        fn solve(mut a: MatMut<'_, $T>, b: MatMut<'_, $T>, par: Par) -> Result<(), Failure> {
            let n = a.nrows();
            let (mut forward, mut backward) = (vec![0usize; n], vec![0usize; n]);
            let mut buffer = workspace(lu::lu_in_place_scratch::<usize, $T>(n, n, par, Default::default()))?;
            let (_, exchanges) = lu::lu_in_place(a.as_mut(), &mut forward, &mut backward, par, MemStack::new(&mut buffer), Default::default());
            if let Some(index) = (0..n).find(|&i| a[(i, i)] == 0.0) {
                return Err(Failure::Pivot(index));
            }
            let mut buffer = workspace(lu_solve::solve_in_place_scratch::<usize, $T>(n, b.ncols(), par))?;
            lu_solve::solve_in_place(a.as_ref(), a.as_ref(), exchanges, b, par, MemStack::new(&mut buffer));
            Ok(())
        }

        #[inline(never)]
        fn qr(mut a: MatMut<'_, $T>, basis: MatMut<'_, $T>, par: Par) -> Result<(), Failure> {
            let (m, n, k) = (a.nrows(), a.ncols(), basis.ncols());
            let block = qr::recommended_block_size::<$T>(m, n);
            let mut coefficients = Mat::<$T>::zeros(block, k);
            let mut buffer = workspace(qr::qr_in_place_scratch::<$T>(m, n, block, par, Default::default()))?;
            qr::qr_in_place(a.as_mut(), coefficients.as_mut(), par, MemStack::new(&mut buffer), Default::default());
            let request = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<$T>(m, block, k);
            let mut buffer = workspace(request)?;
            householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
                a.as_ref().subcols(0, k), coefficients.as_ref(), Conj::No, basis, par, MemStack::new(&mut buffer),
            );
            Ok(())
        }

        #[inline(never)]
        fn svd(a: MatRef<'_, $T>, s: &mut [$T], u: MatMut<'_, $T>, v: MatMut<'_, $T>, par: Par) -> Result<(), Failure> {
            let vectors = svd::ComputeSvdVectors::Thin;
            let mut buffer = workspace(svd::svd_scratch::<$T>(a.nrows(), a.ncols(), vectors, vectors, par, Default::default()))?;
            let stack = MemStack::new(&mut buffer);
            svd::svd(a, DiagMut::from_slice_mut(s), Some(u), Some(v), par, stack, Default::default())
                .map_err(|_| Failure::NoConvergence)
        }

        #[inline(never)]
        fn eigh(a: MatRef<'_, $T>, values: &mut [$T], vectors: MatMut<'_, $T>, par: Par) -> Result<(), Failure> {
            let wanted = evd::ComputeEigenvectors::Yes;
            let mut buffer = workspace(evd::self_adjoint_evd_scratch::<$T>(a.nrows(), wanted, par, Default::default()))?;
            let stack = MemStack::new(&mut buffer);
            evd::self_adjoint_evd(a, DiagMut::from_slice_mut(values), Some(vectors), par, stack, Default::default())
                .map_err(|_| Failure::NoConvergence)
        }
    })* };
}
dense!(f32, f64);
