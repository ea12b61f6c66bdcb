import { afterEach, expect, test } from 'vitest'
import { OptionError, ShapeError, StateError } from '../tensor/errors.ts'
import { currentKernels, linear, scope, tensor, valueAndGrad, zeros } from '../tensor/index.ts'
import { Parameters } from './parameters.ts'

let parameters = new Parameters()
afterEach(() => {
  parameters.dispose()
  parameters = new Parameters()
})
const three = () => {
  parameters.add('layers.0.weight', tensor([1, 2]))
  parameters.add('layers.0.bias', tensor([3]))
  parameters.add('layers.1.weight', tensor([4], [1], 'f64'))
  return parameters
}

test('the tensor of a path shows every later change', () => {
  const init = tensor([1, 2])
  const w = parameters.add('w', init)
  parameters.assign('w', tensor([5, 6]))
  expect([...w.toArray()]).toEqual([5, 6])
  expect([...init.toArray()]).toEqual([1, 2])
  expect(parameters.tensors().get('w')).toBe(w)
})
test('a bf16 parameter is trained in f32, and the model sees the rounded numbers', () => {
  const w = parameters.add('w', tensor([1], [1], 'bf16'))
  expect([w.dtype, parameters.get('w').state.dtype]).toEqual(['bf16', 'f32'])
  // A quarter of the distance to the next bf16: four of them arrive.
  const seen = [1, 2, 3, 4].map(() => {
    parameters.update('w', (state) => state.assign(state.tensor().add(2 ** -9)))
    return w.toArray()[0]
  })
  expect(seen).toEqual([1, 1, 1 + 2 ** -7, 1 + 2 ** -7])
  expect(parameters.state().w!.toArray()[0]).toBe(1 + 2 ** -7)
})
test('gradients come back by the same paths, without those of frozen parameters and buffers', () => {
  const w = parameters.add('w', tensor([1, 2], [1, 2]))
  const b = parameters.add('b', tensor([3]))
  const mean = parameters.addBuffer('mean', tensor([0]))
  const loss = () =>
    linear(tensor([5, 7], [1, 2]), w, b)
      .sub(mean.tensor())
      .sum()
  const found = () => valueAndGrad(loss, parameters.tensors()).gradients
  expect([...found().keys()]).toEqual(['w', 'b'])
  parameters.freeze('b')
  expect([...found().keys()]).toEqual(['w'])
  expect([...found().get('w')!.toArray()]).toEqual([5, 7])
  parameters.unfreeze()
  expect([...parameters.tensors().keys()]).toEqual(['w', 'b'])
  expect([...parameters.states().keys()]).toEqual(['w', 'b', 'mean'])
})
test('patterns pick paths in the order of the model, and one that takes none names the nearest', () => {
  three()
  expect(parameters.matching()).toEqual(['layers.0.weight', 'layers.0.bias', 'layers.1.weight'])
  expect(parameters.matching(['layers.1', '**.weight'])).toEqual(['layers.0.weight', 'layers.1.weight'])
  expect(parameters.matching('re:bias$')).toEqual(['layers.0.bias'])
  expect(() => parameters.matching(['**.weight', 'layers.0.bais'])).toThrow(
    /none of 3 is called layers\.0\.bais; nearest are layers\.0\.bias,/,
  )
})
test('what was saved loads to the same bits, buffers with it', () => {
  three().addBuffer('count', tensor([7], [1], 'u32'))
  const saved = parameters.state()
  for (const path of parameters.matching()) parameters.assign(path, zeros(parameters.get(path).state.shape))
  parameters.load(saved)
  for (const [path, state] of parameters.states()) expect(state.bytes()).toEqual(saved[path]!.bytes())
})
test('a parameter is not replaced by numbers that cannot be trained, a buffer by any', () => {
  const w = parameters.add('w', tensor([1, 2]))
  parameters.addBuffer('seen', tensor([7], [1], 'u32'))
  expect(() => parameters.replace('w', tensor([1], [1], 'u32'))).toThrow(ShapeError)
  expect(parameters.tensors().get('w')).toBe(w)
  expect([...w.toArray()]).toEqual([1, 2])
  expect(parameters.replace('seen', tensor([1, 0], [2], 'bool')).dtype).toBe('bool')
  expect(parameters.replace('w', tensor([1, 2, 3], [3], 'f64')).dtype).toBe('f64')
})
test('a saved state that does not fit is refused before anything changes', () => {
  three()
  const saved = { ...parameters.state(), 'layers.0.weight': zeros([2]) }
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ 'layers.1.weight': zeros([1]) }, /layers\.1\.weight needs f64 \[1\], got f32 \[1\]/],
    [{ 'layers.1.weight': zeros([2], 'f64') }, /needs f64 \[1\], got f64 \[2\]/],
    [{ 'layers.1.weight': undefined }, /needs f64 \[1\], got nothing/],
    [
      { 'layers.1.wieght': zeros([1]) },
      /has layers\.1\.wieght, which the model has not; nearest is layers\.1\.w/,
    ],
  ]
  for (const [change, message] of wrong) {
    const load = () => parameters.load({ ...saved, ...change } as never)
    expect(load).toThrow(StateError)
    expect(load).toThrow(message)
  }
  expect([...parameters.get('layers.0.weight').tensor.toArray()]).toEqual([1, 2])
})
test('a replaced parameter keeps its place and takes another shape', () => {
  const old = three().get('layers.0.weight').tensor
  const next = parameters.replace('layers.0.weight', zeros([5]))
  expect([old.alive, next.alive]).toEqual([false, true])
  expect([...parameters.tensors()].map(([path, x]) => [path, x.size])).toEqual([
    ['layers.0.weight', 5],
    ['layers.0.bias', 1],
    ['layers.1.weight', 1],
  ])
})
test('empty, taken and unknown paths and numbers that do not compute are refused', () => {
  three()
  expect(() => parameters.add('', zeros([1]))).toThrow(OptionError)
  expect(() => parameters.add('layers.0.bias', zeros([1]))).toThrow(/layers\.0\.bias: it is there already/)
  expect(() => parameters.add('ids', zeros([1], 'u32'))).toThrow(ShapeError)
  expect(() => parameters.get('layers.2.bias')).toThrow(/none of 3 is called layers\.2\.bias/)
  expect(() => parameters.assign('layers.0.bias', zeros([2]))).toThrow(ShapeError)
})
test('removed and disposed parameters give their memory back', () => {
  const before = currentKernels().memory().tensors
  scope(() => {
    three().add('big', zeros([1000], 'bf16'))
  })
  // A state and its tensor for each; f32 and bf16 for the last.
  expect(currentKernels().memory().tensors).toBe(before + 3 * 2 + 3)
  parameters.remove('big')
  expect(parameters.has('big')).toBe(false)
  parameters.dispose()
  expect(currentKernels().memory().tensors).toBe(before)
})
