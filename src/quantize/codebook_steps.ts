/**
 * Descent of codebooks and scales with codes fixed: full-batch Adam without momentum, with the largest second moment so far
 * (Reddi et al. 2018, as `amsgrad` of torch.optim.Adam).
 *
 *   L = tr(D H D^T) / out,  D = W - W^       dL/dW^ = -2 D H / out
 *   v <- b v + (1 - b) g^2,  u <- max(u, v),  p <- p - rate * g / (sqrt(u / (1 - b^t)) + 1e-8),  b = 0.95
 */
import { type AdditiveCodebooks, additiveGradient, decodeAdditive } from '../nn/additive_codebooks.ts'
import { matmul, State, scope, type Tensor } from '../tensor/index.ts'

const keep = 0.95
const epsilon = 1e-8

/** A number of the model that moves, with its second moments. */
class Moving {
  readonly value: State
  private readonly second: State
  private readonly most: State

  constructor(name: string, start: Tensor) {
    const make = (part: string) => new State(`${name}/${part}`, start.shape, start.dtype, start.kernels)
    this.value = make('value')
    this.second = make('second')
    this.most = make('most')
    this.value.assign(start)
  }

  step(gradient: Tensor, rate: number, count: number): void {
    const second = this.second
      .tensor()
      .mul(keep)
      .add(gradient.square().mul(1 - keep))
    this.second.assign(second)
    this.most.assign(this.most.tensor().maximum(second))
    const size = this.most
      .tensor()
      .div(1 - keep ** count)
      .sqrt()
      .add(epsilon)
    this.value.assign(this.value.tensor().sub(gradient.div(size).mul(rate)))
  }

  dispose(): void {
    for (const state of [this.value, this.second, this.most]) state.dispose()
  }
}

/** Codebooks and scales that move while codes are exchanged around them. `dispose` frees them. */
export class CodebookDescent {
  private readonly weight: Tensor
  private readonly hessian: Tensor
  private readonly books: Moving
  private readonly scales: Moving
  private count = 0

  /** @param weight [out, in] and `hessian` [in, in], in the type of the codebooks */
  constructor(weight: Tensor, hessian: Tensor, start: Omit<AdditiveCodebooks, 'codes'>) {
    this.weight = weight
    this.hessian = hessian
    this.books = new Moving('codebooks', start.codebooks)
    this.scales = new Moving('scales', start.scales)
  }

  /** The numbers of now; they live until `dispose` and show later changes. */
  with(codes: Tensor): AdditiveCodebooks {
    return { codes, codebooks: this.books.value.tensor(), scales: this.scales.value.tensor() }
  }

  /** L of these codes. */
  loss(codes: Tensor): number {
    return scope(() => this.lost(codes).loss())
  }

  step(codes: Tensor, rate: number): void {
    scope(() => {
      const { slope } = this.lost(codes)
      const gradient = additiveGradient(this.with(codes), slope())
      this.count++
      this.books.step(gradient.codebooks, rate, this.count)
      this.scales.step(gradient.scales, rate, this.count)
    })
  }

  private lost(codes: Tensor) {
    const outputs = this.weight.extent(0)
    const lost = this.weight.sub(decodeAdditive(this.with(codes)))
    const seen = matmul(lost, this.hessian)
    return {
      loss: () => seen.mul(lost).sum().item() / outputs,
      slope: () => seen.mul(-2 / outputs),
    }
  }

  dispose(): void {
    this.books.dispose()
    this.scales.dispose()
  }
}
