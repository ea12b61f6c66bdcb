import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { FormatError, OptionError, SourceError } from '../../tensor/errors.ts'
import type { TensorArchive } from '../archive.ts'
import { bytesSource } from '../file.ts'
import { asset } from '../tokenizer/assets.suite.ts'
import { openTorch, openTorchSource } from './torch.ts'
import {
  call,
  dict,
  floats,
  get,
  global,
  list,
  none,
  oldStream,
  oldText,
  type Part,
  put,
  storage,
  tensor,
  text,
  tuple,
  whole,
  zipFile,
} from './torch_files.suite.ts'

const written = fileURLToPath(new URL('../../../interop/torch_files/', import.meta.url))
const opened: TensorArchive[] = []
afterEach(() => {
  for (const archive of opened.splice(0)) archive.close()
})
const keep = <Archive extends TensorArchive>(archive: Archive): Archive => {
  opened.push(archive)
  return archive
}
const open = (bytes: Uint8Array) => keep(openTorchSource(bytesSource('x.pth', bytes)))
const numbers = (bytes: Uint8Array) => [...new Float32Array(bytes.slice().buffer)]

describe.each(['old.pth', 'zip.pth'])('%s of torch 2.15', (name) => {
  const archive = () => keep(openTorch(`${written}${name}`))

  test('names, types and shapes are those that were saved, in their order', () => {
    const found = [...archive().tensors.values()].map(({ name, type, shape }) => [name, type, shape])
    expect(found).toEqual([
      ['state_dict.whole', 'F32', [4, 6]],
      ['state_dict.transposed', 'F32', [6, 4]],
      ['state_dict.every.fourth', 'F32', [4]],
      ['state_dict.repeated', 'F32', [3, 4]],
      ['state_dict.scalar', 'F32', []],
      ['state_dict.empty', 'F32', [0, 3]],
      ['state_dict.parameter', 'F32', [2]],
      ['state_dict.torch.float64', 'F64', [2]],
      ['state_dict.torch.float32', 'F32', [2]],
      ['state_dict.torch.float16', 'F16', [2]],
      ['state_dict.torch.bfloat16', 'BF16', [2]],
      ['state_dict.torch.int64', 'I64', [2]],
      ['state_dict.torch.int32', 'I32', [2]],
      ['state_dict.torch.int16', 'I16', [2]],
      ['state_dict.torch.int8', 'I8', [2]],
      ['state_dict.torch.uint8', 'U8', [2]],
      ['state_dict.torch.bool', 'BOOL', [2]],
      ['list.0', 'F32', [1]],
    ])
  })
  test('numbers are read through views: in order, transposed, with gaps, repeated', () => {
    const { read } = archive()
    const range = Array.from({ length: 24 }, (_, i) => i)
    expect(numbers(read('state_dict.whole'))).toEqual(range)
    expect(numbers(read('state_dict.transposed'))).toEqual(range.map((i) => (i % 4) * 6 + Math.floor(i / 4)))
    expect(numbers(read('state_dict.every.fourth'))).toEqual([3, 7, 11, 15])
    expect(numbers(read('state_dict.repeated'))).toEqual(Array(12).fill(5))
    expect(numbers(read('state_dict.scalar'))).toEqual([7])
    expect(read('state_dict.empty')).toHaveLength(0)
    expect(numbers(read('state_dict.parameter'))).toEqual([1, 1])
    expect(numbers(read('list.0'))).toEqual([9])
  })
  test('every type has its bytes', () => {
    const { read } = archive()
    const bytes = {
      float64: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
      float16: [0, 0, 0, 0x3c],
      bfloat16: [0, 0, 0x80, 0x3f],
      int64: [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
      int32: [0, 0, 0, 0, 1, 0, 0, 0],
      int16: [0, 0, 1, 0],
      int8: [0, 1],
      uint8: [0, 1],
      bool: [0, 1],
    }
    for (const [type, expected] of Object.entries(bytes))
      expect([...read(`state_dict.torch.${type}`)], type).toEqual(expected)
  })
  test('rows are those of the whole, whatever the strides', () => {
    const { read, readRows } = archive()
    for (const [name, rows] of [
      ['state_dict.whole', 4],
      ['state_dict.transposed', 6],
      ['state_dict.repeated', 3],
    ] as const) {
      const rowsOfAll = read(name)
      const size = rowsOfAll.length / rows
      for (let start = 0; start <= rows; start++)
        for (let end = start; end <= rows; end++)
          expect(readRows(name, start, end), name).toEqual(rowsOfAll.slice(start * size, end * size))
      for (const [start, end] of [
        [-1, 1],
        [0, rows + 1],
        [2, 1],
        [0.5, 1],
      ] as const)
        expect(() => readRows(name, start, end)).toThrow(OptionError)
    }
    expect(() => read('state_dict.other')).toThrow(expect.objectContaining({ code: 'PARE_E_NO_TENSOR' }))
  })
  test('numbers and texts beside the tensors are its metadata', () => {
    expect(Object.fromEntries(archive().metadata)).toEqual({
      epoch: 3,
      lr: 0.125,
      name: 'tiny é',
      best: null,
      done: true,
      large: String(2n ** 70n),
      least: -5,
      'list.1.0': 1,
      'list.1.1': 2,
    })
  })
})

const efficientnet = asset('models/efficientnet-lite0/efficientnet-lite0-57934424.pth')
test.skipIf(!efficientnet)('EfficientNet-Lite0 has the sums that torch gives (needs PARE_ASSETS)', () => {
  const { tensors, read } = keep(openTorch(efficientnet!))
  expect(tensors.size).toBe(296)
  for (const [name, shape, sum, last] of [
    ['_conv_stem.weight', [32, 3, 3, 3], -26.811376610887237, 2.2351741790771484e-8],
    ['_blocks.7._depthwise_conv.weight', [480, 1, 3, 3], 67.5069812447764, -0.03405576944351196],
    ['_fc.weight', [1000, 1280], -470.63256730128705, 0.04085797071456909],
  ] as const) {
    const values = numbers(read(name))
    expect(tensors.get(name)!.shape).toEqual(shape)
    expect(values.reduce((a, b) => a + b, 0)).toBeCloseTo(sum, 8)
    expect(values.at(-1)).toBe(last)
  }
})

describe('what a pickle may hold', () => {
  const data = { 0: floats(0, 1, 2, 3, 4, 5) }

  test('a tensor alone has the name tensor', () => {
    const { tensors, read } = open(oldStream(tensor(storage(), 1, [2], [3]), data))
    expect([...tensors.keys()]).toEqual(['tensor'])
    expect(numbers(read('tensor'))).toEqual([1, 4])
  })
  test('files of Python 2 have their texts and pairs', () => {
    const pairs = list(list(oldText('weight'), tensor(storage(), 0, [6], [1])))
    expect([...open(oldStream(call('collections.OrderedDict', pairs), data)).tensors.keys()]).toEqual([
      'weight',
    ])
  })
  test('the first way to rebuild a tensor, parameters and attributes of a dictionary are read', () => {
    const plain = call('torch._utils._rebuild_tensor', storage(), whole(0), tuple(whole(6)), tuple(whole(1)))
    const parameter = call('torch._utils._rebuild_parameter', plain, 0x88, call('collections.OrderedDict'))
    const object = [
      call('collections.OrderedDict'),
      text('p'),
      parameter,
      0x73,
      dict([text('_metadata'), none]),
      0x62,
    ]
    expect([...open(oldStream(object, data)).tensors.keys()]).toEqual(['p'])
  })
  test('a view of a storage counts from its own beginning', () => {
    const view = tuple(text('view'), whole(2), whole(3))
    const { read } = open(oldStream(tensor(storage({ view }), 1, [2], [1]), data))
    expect(numbers(read('tensor'))).toEqual([3, 4])
  })
  test('tensors may share a storage, by the memo too', () => {
    const object = dict(
      [text('a'), tensor([storage(), put(9)], 0, [2], [1])],
      [text('b'), tensor(get(9), 4, [2], [1])],
    )
    const { read } = open(oldStream(object, data))
    expect([numbers(read('a')), numbers(read('b'))]).toEqual([
      [0, 1],
      [4, 5],
    ])
  })
})

describe('what is refused', () => {
  const data = { 0: floats(0, 1, 2, 3, 4, 5) }
  const containers: [string, (object: Part) => Uint8Array][] = [
    ['old', (object) => oldStream(object, data)],
    ['zip', (object) => zipFile(object, data)],
  ]
  describe.each(containers)('%s', (kind, make) => {
    const of = (options = {}) => storage({ old: kind === 'old', ...options })

    test.each([
      'posix.system',
      'os.system',
      'builtins.eval',
      '__builtin__.getattr',
      'torch.nn.modules.linear.Linear',
      'torch._utils._rebuild_tensor_v3',
      'torch.ComplexFloatStorage',
      'numpy.core.multiarray._reconstruct',
      '__proto__.constructor',
    ])('%s is named and not called', (name) => {
      const object = [global(name), tuple(text('touch found')), 0x52]
      expect(() => open(make(object))).toThrow(
        expect.objectContaining({
          name: 'FormatError',
          code: 'PARE_E_TORCH_GLOBAL',
          message: expect.stringContaining(name),
          facts: expect.objectContaining({ global: name }),
        }),
      )
    })
    test('control characters of a name do not reach the message', () => {
      expect(() => open(make(global('a\u001b[31m.b')))).toThrow(/a\\u\{1b\}\[31m\.b/)
    })
    test.each([
      ['a start past the end', 1, [6], [1]],
      ['a stride past the end', 0, [2, 2], [5, 1]],
      ['more elements than the storage', 0, [7], [0]],
      ['a start below 0', -1, [1], [1]],
      ['a stride below 0', 5, [2], [-1]],
      ['an extent below 0', 0, [-1], [1]],
      ['an empty tensor past the end', 7, [0], [1]],
      ['a shape without strides', 0, [2, 3], [1]],
      ['more axes than there are', 0, Array(65).fill(1), Array(65).fill(1)],
      ['a huge shape', 0, Array(9).fill(0x7fffffff), Array(9).fill(0x7fffffff)],
    ] as [string, number, number[], number[]][])('%s', (_, start, shape, strides) => {
      expect(() => open(make(tensor(of(), start, shape, strides)))).toThrow(FormatError)
    })
    test('a storage that the file does not hold, or has as another type or size', () => {
      const one = tensor(of(), 0, [1], [1])
      for (const other of [of({ key: '1' }), of({ type: 'IntStorage' }), of({ count: 5 })]) {
        const object = tuple(one, tensor(other, 0, [1], [1]))
        expect(() => open(make(object))).toThrow(expect.objectContaining({ code: 'PARE_E_TORCH_STORAGE' }))
      }
      expect(() => open(make(tensor(of({ count: 7 }), 0, [1], [1])))).toThrow(FormatError)
    })
    test('a storage of no known type, and a persistent id that is none', () => {
      for (const id of [
        tuple(text('module'), none),
        text('storage'),
        tuple(),
        tuple(text('storage'), none, text('0'), none, whole(6)),
      ])
        expect(() => open(make([id, 0x51]))).toThrow(FormatError)
    })
    test('a list inside of itself, and one that grows without end', () => {
      const one = tensor(of(), 0, [1], [1])
      const nesting = expect.objectContaining({ code: 'PARE_E_TORCH_NESTING' })
      expect(() => open(make(tuple(one, [0x5d, put(0), get(0), 0x61])))).toThrow(nesting)
      const layers: Part[] = [list(whole(1)), put(0)]
      for (let layer = 0; layer < 30; layer++)
        layers.push(list(...Array(10).fill(get(layer))), put(layer + 1))
      expect(() => open(make(tuple(one, ...layers)))).toThrow(nesting)
    })
    test('two tensors of one name', () => {
      const one = tensor(of(), 0, [1], [1])
      expect(() => open(make(dict([text('a.b'), one], [text('a'), dict([text('b'), one])])))).toThrow(/a\.b/)
    })
    test.each([
      ['a call of what is no name', [text('f'), tuple(), 0x52]],
      ['a call without a tuple', [global('collections.OrderedDict'), text('x'), 0x52]],
      ['a call of a storage class', call('torch.FloatStorage')],
      ['a wrong argument', call('torch._utils._rebuild_parameter', none, none, none)],
      ['too many arguments', call('collections.OrderedDict', list(), list())],
      ['pairs that are none', call('collections.OrderedDict', list(list(text('k'))))],
      ['a key that is a list', dict([list(), none])],
      ['a key without a value', [0x7d, 0x28, text('k'), 0x75]],
      ['items for what is no dictionary', [list(), text('k'), none, 0x73]],
      ['appending to a tuple', [tuple(), none, 0x61]],
      ['appending nothing', [0x61]],
      ['attributes that are no dictionary', [dict(), text('x'), 0x62]],
      ['a value that is not remembered', get(3)],
      ['remembering nothing', put(0)],
      ['no mark', [none, 0x74]],
      ['values left over', [none, none]],
      ['nothing at all', []],
      ['a text that is not UTF-8', [0x58, 1, 0, 0, 0, 0xff]],
      ['a text longer than the file', [0x58, 0xff, 0xff, 0xff, 0x7f]],
      ['another protocol', [0x80, 4, none]],
    ] as [string, Part][])('%s', (_, object) => {
      expect(() => open(make(object))).toThrow(expect.objectContaining({ code: 'PARE_E_TORCH_PICKLE' }))
    })
    test('every operation outside of the list', () => {
      const known = new Set(
        [...'(.NKMJGXTU}])tasequrhjcRQb']
          .map((letter) => letter.charCodeAt(0))
          .concat(0x80, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a),
      )
      for (let code = 0; code < 256; code++) {
        if (!known.has(code)) expect(() => open(make([code, none])), String(code)).toThrow(/operation 0x/)
      }
    })
  })

  test('a stream of a big-endian machine, of another protocol or with another number', () => {
    const object = dict()
    expect(() => open(oldStream(object, {}, 4, { littleEndian: 0x89 }))).toThrow(/little-endian/)
    expect(() => open(oldStream(object, {}, 4, { littleEndian: none }))).toThrow(/little-endian/)
    expect(() => open(oldStream(object, {}, 4, { protocol: 1000 }))).toThrow(/protocol 1000/)
    expect(() => open(oldStream(object, {}, 4, { magic: 5n }))).toThrow(/number of a torch file/)
    expect(() => open(zipFile(object, {}, { 'tiny/byteorder': Buffer.from('big') }))).toThrow(/big-endian/)
    expect([...open(zipFile(object, {}, { 'tiny/byteorder': Buffer.from('little') })).tensors]).toEqual([])
  })
  test('storages that are listed twice, are not used, are not there, or are followed by more', () => {
    const object = tensor(storage(), 0, [6], [1])
    for (const keys of [list(text('0'), text('0')), list(text('1')), list(), list(whole(0)), dict()])
      expect(() => open(oldStream(object, data, 4, { keys }))).toThrow(FormatError)
    expect(() => open(Uint8Array.of(...oldStream(object, data), 0))).toThrow(/foreign bytes/)
  })
  test('archives of another kind', () => {
    expect(() => open(zipFile(none, {}, { 'other/data.pkl': new Uint8Array(1) }))).toThrow(/2 are inside/)
    const bytes = zipFile(none)
    const changed = bytes.slice()
    changed[bytes.findIndex((byte, i) => byte === 0x80 && bytes[i + 1] === 2) + 2] = 0x88
    expect(() => open(changed)).toThrow(/checksum/)
  })
  test('files that are none of torch, and no file', () => {
    for (const bytes of [new Uint8Array(0), Uint8Array.of(1), Buffer.from('PK'), Buffer.from('hello')])
      expect(() => open(bytes)).toThrow(FormatError)
    expect(() => openTorch(`${written}missing.pth`)).toThrow(SourceError)
  })
})
