import { expect, test } from 'vitest'
import { gradientCheck, inputsOf } from '../tensor/autodiff/gradient_check.suite.ts'
import { onNative } from '../tensor/contract/claims.suite.ts'
import { concat, type Tensor, tensor } from '../tensor/index.ts'
import { Linear } from './linear.ts'
import { lstm } from './lstm.ts'
import { denseSource } from './weight_source.ts'

const weightsOf = (input: Tensor, hidden: Tensor, bias?: Tensor) => ({
  input: new Linear('input', denseSource(input), bias),
  hidden: new Linear('hidden', denseSource(hidden)),
})

test('a step is that of the equations, worked in numbers', () => {
  onNative(() => {
    const weights = weightsOf(
      tensor([1, 2, 3, 4], [4, 1], 'f64'),
      tensor([0.5, -0.5, 0.25, 1], [4, 1], 'f64'),
      tensor([0, 0.1, 0, -0.1], [4], 'f64'),
    )
    const state = { hidden: tensor([0.3], [1, 1], 'f64'), cell: tensor([-0.7], [1, 1], 'f64') }
    const { state: next } = lstm(tensor([0.2], [1, 1, 1], 'f64'), weights, { state })
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
    // Gates 0.2 W + 0.3 U + b: 0.35, 0.35, 0.675, 1.0.
    const cell = sigmoid(0.35) * -0.7 + sigmoid(0.35) * Math.tanh(0.675)
    expect(next.cell.item()).toBeCloseTo(cell, 14)
    expect(next.hidden.item()).toBeCloseTo(sigmoid(1) * Math.tanh(cell), 14)
  })
})
test('a sequence is its steps one after another, and goes on from a state', () => {
  onNative(() => {
    const [x, w, u] = inputsOf([2, 5, 3], [8, 3], [8, 2]) as [Tensor, Tensor, Tensor]
    const weights = weightsOf(w, u)
    const whole = lstm(x, weights)
    const first = lstm(x.slice(1, 0, 2), weights)
    const rest = lstm(x.slice(1, 2), weights, { state: first.state })
    expect(concat([first.outputs, rest.outputs], 1).bytes()).toEqual(whole.outputs.bytes())
    expect(rest.state.cell.bytes()).toEqual(whole.state.cell.bytes())
    expect(() => lstm(x.select(0, 0), weights)).toThrow(/\[batch, tokens, in\]/)
  })
})
test('gradients of inputs, weights, bias and state are those of differences', () => {
  onNative(() =>
    gradientCheck(
      (x, w, u, b, h, c) => {
        const { outputs, state } = lstm(x!, weightsOf(w!, u!, b!), { state: { hidden: h!, cell: c! } })
        return [outputs, state.cell]
      },
      inputsOf([2, 3, 2], [12, 2], [12, 3], [12], [2, 3], [2, 3]),
    ),
  )
})
