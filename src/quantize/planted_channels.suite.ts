/**
 * The synthetic layer with three inputs of 20 times the root mean square of all the others, as outlier channels of language
 * models are. Their own random sizes are taken out, which differ by e to both sides, so that 20 is what they have.
 */
import { squaresOf } from '../calibrate/statistics.ts'
import { type SyntheticLayer, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { matmul, scope, tensor } from '../tensor/index.ts'

const planted = [5, 60, 101]

/** Weight f64 [64, 128], inputs f64 [1000, 128]. */
export function plantedChannels(seed: number): SyntheticLayer {
  return scope(() => {
    const {
      weight,
      inputs: plain,
      gram: before,
    } = syntheticLayer({ seed, columns: 128, tokens: 1000, decay: 0.25 })
    const squares = squaresOf(before)
    const others = squares.filter((_, c) => !planted.includes(c))
    const mean = others.reduce((sum, square) => sum + square, 0) / others.length
    const factors = squares.map((square, c) => (planted.includes(c) ? 20 * Math.sqrt(mean / square) : 1))
    const inputs = plain.mul(tensor(factors, [128], 'f64'))
    return { weight, inputs, gram: matmul(inputs.transpose(), inputs) }
  })
}
