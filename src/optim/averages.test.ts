import { afterEach, expect, test } from 'vitest'
import { Parameters } from '../nn/parameters.ts'
import { OptionError, StateError } from '../tensor/errors.ts'
import { tensor, zeros } from '../tensor/index.ts'
import { exponentialAverage, meanAverage, warmedDecay } from './averages.ts'

let parameters = new Parameters()
afterEach(() => {
  parameters.dispose()
  parameters = new Parameters()
})
const set = (...values: number[]) => parameters.assign('w', tensor(values))
const numbers = (path = 'w') => [...parameters.get(path).tensor.toArray()]
const averages = (average: ReturnType<ReturnType<typeof meanAverage>>) => [
  ...(average.states().get('w')!.tensor().toArray() as Float32Array),
]

test('the exponential average begins with the first parameters that it sees', () => {
  parameters.add('w', tensor([9]))
  const average = exponentialAverage({ decay: 0.75 })(parameters)
  const found = [1, 5, 1].map((value) => {
    set(value)
    average.update()
    return averages(average)[0]
  })
  expect(found).toEqual([1, 2, 1.75])
})
test('a decay that warms up begins at 1/10 and ends at its limit', () => {
  const decay = warmedDecay(0.5)
  expect([0, 1, 8, 1000].map(decay)).toEqual([0.1, 2 / 11, 0.5, 0.5])
  parameters.add('w', tensor([0], [1], 'f64'))
  const average = exponentialAverage({ decay })(parameters)
  parameters.assign('w', tensor([1], [1], 'f64'))
  average.update()
  expect(averages(average)[0]).toBeCloseTo(0.9, 15)
})
test('the mean is that of all updates', () => {
  parameters.add('w', tensor([100]))
  const average = meanAverage()(parameters)
  const found = [1, 2, 6, 7].map((value) => {
    set(value)
    average.update()
    return averages(average)[0]
  })
  expect(found.map((value) => Math.fround(value!))).toEqual([1, 1.5, 3, 4])
})
test('the average of a constant is that constant, to the bit', () => {
  for (const make of [
    exponentialAverage({ decay: 0.9 }),
    meanAverage(),
    exponentialAverage({ decay: warmedDecay(0.99) }),
  ]) {
    const path = `w${parameters.matching().length}`
    parameters.add(path, tensor([1 / 3, -0.1, 1e20]))
    const average = make(parameters)
    for (let i = 0; i < 5; i++) average.update()
    expect(average.states().get(path)!.bytes()).toEqual(parameters.get(path).state.bytes())
  }
})
test('averages are swapped in and out to the same bits, also where the model computes in bf16', () => {
  parameters.add('w', tensor([1]))
  parameters.add('narrow', tensor([1], [1], 'bf16'))
  const average = meanAverage()(parameters)
  average.update()
  set(3)
  parameters.assign('narrow', tensor([1 + 2 ** -9]))
  average.update()
  const before = parameters.state()
  const seen = average.during(() => [...numbers(), ...numbers('narrow'), average.isSwapped])
  expect(seen).toEqual([2, 1, true])
  for (const [path, x] of Object.entries(before))
    expect(parameters.get(path).state.bytes()).toEqual(x.bytes())
  expect(averages(average)).toEqual([2])
})
test('swapped averages are put back after an error, and nothing counts while they are in', () => {
  parameters.add('w', tensor([1]))
  const average = exponentialAverage()(parameters)
  average.update()
  set(5)
  expect(() =>
    average.during(() => {
      throw new RangeError('inside')
    }),
  ).toThrow('inside')
  expect(numbers()).toEqual([5])
  average.swap()
  for (const call of [() => average.update(), () => average.state(), () => average.during(() => 1)])
    expect(call).toThrow(StateError)
  average.swap()
  expect(numbers()).toEqual([5])
})
test('averages stay in place until an asynchronous body has ended', async () => {
  parameters.add('w', tensor([1]))
  const average = meanAverage()(parameters)
  average.update()
  set(5)
  const seen = await average.during(async () => {
    await Promise.resolve()
    return numbers()
  })
  expect([seen, numbers(), average.isSwapped]).toEqual([[1], [5], false])
  const broken = average.during(() => Promise.reject(new RangeError('inside')))
  await expect(broken).rejects.toThrow('inside')
  expect(numbers()).toEqual([5])
})
test('buffers are averaged, and counts taken as they are', () => {
  parameters.add('w', tensor([0]))
  const mean = parameters.addBuffer('mean', tensor([1]))
  const count = parameters.addBuffer('count', tensor([1], [1], 'u32'))
  const average = meanAverage()(parameters)
  average.update()
  mean.assign(tensor([3]))
  count.assign(tensor([8], [1], 'u32'))
  average.update()
  expect([...average.states().values()].map((state) => state.tensor().toArray()[0])).toEqual([0, 2, 8])
})
test('what was saved goes on to the same bits, and what does not fit is refused', () => {
  parameters.add('w', tensor([1 / 3]))
  const [one, two] = [
    exponentialAverage({ decay: 0.9 })(parameters),
    exponentialAverage({ decay: 0.9 })(parameters),
  ]
  for (const value of [0.1, 0.7]) {
    set(value)
    one.update()
  }
  two.load(one.state())
  set(0.3)
  one.update()
  two.update()
  expect([two.updates, two.states().get('w')!.bytes()]).toEqual([3, one.states().get('w')!.bytes()])
  const saved = one.state()
  for (const change of [{ 'w/average': zeros([2]) }, { 'v/average': zeros([1]) }, { updates: zeros([]) }])
    expect(() => two.load({ ...saved, ...change })).toThrow(StateError)
  expect(two.updates).toBe(3)
})
test('a decay outside of [0, 1] is refused', () => {
  for (const decay of [-0.1, 1.1, NaN]) expect(() => exponentialAverage({ decay })).toThrow(OptionError)
})
