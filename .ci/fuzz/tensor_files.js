/** Readers of files of tensors: safetensors, GGUF, imatrix, torch, ONNX. */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { FormatError } from 'pare'
import { bytesSource } from '../../dist/formats/file.js'
import { openGgufSource } from '../../dist/formats/gguf/container.js'
import { readImatrix } from '../../dist/formats/gguf/imatrix.js'
import { gguf } from '../../dist/formats/gguf/metadata.js'
import { layOutGguf } from '../../dist/formats/gguf/writer.js'
import { openOnnxSource } from '../../dist/formats/onnx/onnx.js'
import { openSafetensors, openSources } from '../../dist/formats/safetensors/safetensors.js'
import { openTorchSource } from '../../dist/formats/torch/torch.js'
import { storedMembers } from '../../dist/formats/torch/zip_members.js'
import { decodeTensor } from '../../dist/models/decode_rows.js'
import { blockTypeNames, isBlockType } from '../../dist/nn/block_types.js'
import { scope } from '../../dist/tensor/index.js'
import { damageBytes, fixed, joinBytes } from './bytes.js'
import { damageGguf } from './gguf.js'
import { names, texts } from './hostile_values.js'
import { damageJson } from './json.js'
import { damagePickle } from './pickle.js'
import { damageProtobuf } from './protobuf.js'
import { forEach, need, readTensors } from './reading.js'
import { damageSafetensors } from './safetensors.js'
import { damageZip, membersOf, writeZip } from './zip.js'

const interop = fileURLToPath(new URL('../../interop', import.meta.url))
export const fixture = (name) => new Uint8Array(readFileSync(join(interop, name)))
export const fixtureFolder = (name) =>
  Object.fromEntries(
    readdirSync(join(interop, name), { withFileTypes: true })
      .filter(
        (entry) =>
          entry.isFile() && /\.(json|safetensors|jinja)$/.test(entry.name) && entry.name !== 'expected.json',
      )
      .map((entry) => [entry.name, fixture(join(name, entry.name))]),
  )

/** Bytes that look like numbers of many types. */
export const noise = (length) => Uint8Array.from({ length }, (_, i) => (73 * i + (i >> 5) + 41) & 255)

const readArchive = (archive) => {
  try {
    readTensors(archive)
  } finally {
    archive.close()
  }
}

const smallSafetensors = ['llama-tied', 'ct-group-3', 'spqr-ptcsr', 'ct-sparse-24-float8'].map((name) =>
  fixture(`fixtures/${name}/model.safetensors`),
)
const safetensors = {
  name: 'safetensors',
  make: (random) => ({ 'm.safetensors': damageSafetensors(random.pick(smallSafetensors), random) }),
  read: (files) => readArchive(openSources([bytesSource('m.safetensors', files['m.safetensors'])])),
}

const shards = fixtureFolder('fixtures/llama-untied')
const safetensorsIndex = {
  name: 'safetensors-index',
  make(random) {
    const name = random.once(2) ? 'model.safetensors.index.json' : random.pick(Object.keys(shards))
    if (name === 'config.json') return { ...shards, 'model.safetensors.index.json': hostileIndex(random) }
    const damage = name.endsWith('.json') ? damageJson : damageSafetensors
    return { ...shards, [name]: damage(shards[name], random) }
  },
  read: (files, place) => readArchive(openSafetensors(place.folder(files))),
}
function hostileIndex(random) {
  const { weight_map, metadata } = JSON.parse(Buffer.from(shards['model.safetensors.index.json']).toString())
  const key = random.pick(Object.keys(weight_map))
  const path = random.once(2) ? random.pick(names) : texts(random)
  const other = random.pick([
    'model-00001-of-00002.safetensors',
    `${path}.safetensors`,
    `${path}/x.safetensors`,
    path,
  ])
  return Buffer.from(
    JSON.stringify({ metadata, weight_map: { ...weight_map, [random.once(3) ? path : key]: other } }),
  )
}

/** One tensor of every type, and values of every type. */
function everyType() {
  const tensors = blockTypeNames.map((type) => ({ name: `${type}.weight`, type, shape: [2, 256] }))
  const { head, size } = layOutGguf(
    new Map([
      ['general.architecture', gguf.string('llama')],
      ['general.alignment', gguf.u32(32)],
      ['a', gguf.u64(2048)],
      ['b', gguf.strings(['a', 'bc', ''])],
      ['c', gguf.f32s([1, 2, 3])],
      ['d', gguf.bool(false)],
    ]),
    [...tensors, { name: 'n', type: 'F32', shape: [3] }, { name: 'x', type: 'IQ2_XXS', shape: [1, 256] }],
  )
  return joinBytes(head, noise(size - head.length))
}
const ggufs = [everyType(), fixture('fixtures/llama-rope-freqs-f16.gguf')]
const ggufContainer = {
  name: 'gguf',
  make: (random) => ({ 'm.gguf': damageGguf(random.pick(ggufs), random) }),
  read(files) {
    const archive = openGgufSource(bytesSource('m.gguf', files['m.gguf']))
    readArchive(archive)
    forEach(archive.tensors.values(), ({ name, type, shape }) => {
      if (isBlockType(type)) scope(() => void decodeTensor(archive, name, type, shape).toArray())
    })
  },
}

const imatrixMetadata = new Map([
  ['general.type', gguf.string('imatrix')],
  ['imatrix.datasets', gguf.strings(['wiki.txt'])],
  ['imatrix.chunk_count', gguf.u32(3)],
  ['imatrix.chunk_size', gguf.u32(512)],
])
function imatrixGguf() {
  const tensors = ['blk.0.attn_q.weight', 'blk.0.ffn_up_exps.weight'].flatMap((name, i) => [
    { name: `${name}.in_sum2`, type: 'F32', shape: [1 + 2 * i, 32] },
    { name: `${name}.counts`, type: 'F32', shape: [1 + 2 * i, 1] },
  ])
  const { head, size } = layOutGguf(imatrixMetadata, tensors)
  return joinBytes(
    head,
    new Uint8Array(Float32Array.from({ length: (size - head.length) >> 2 }, (_, i) => i % 7).buffer),
  )
}
function imatrixDat() {
  const encoder = new TextEncoder()
  const entry = (name, count) =>
    joinBytes(
      fixed(name.length, 4),
      encoder.encode(name),
      fixed(5, 4),
      fixed(count, 4),
      new Uint8Array(Float32Array.from({ length: count }, (_, i) => i / 4).buffer),
    )
  return joinBytes(
    fixed(2, 4),
    entry('blk.0.attn_q.weight', 32),
    entry('blk.0.ffn_up.weight', 64),
    fixed(9, 4),
    fixed(4, 4),
    encoder.encode('text'),
  )
}
const imatrixReader = (name, original, damage) => ({
  name,
  make: (random) => ({ [name]: damage(original, random) }),
  read(files, place) {
    const { entries } = readImatrix(join(place.folder(files), name))
    for (const { sums, counts } of entries.values())
      need(sums.length % counts.length === 0, 'sums and counts')
  },
})

/** `zip.pth` as its members. */
const torchMembers = (() => {
  const bytes = fixture('torch_files/zip.pth')
  const found = storedMembers(bytesSource('zip.pth', bytes))
  const contents = {}
  for (const [name, member] of found)
    contents[name] = bytes.slice(member.offset(), member.offset() + member.bytes)
  return membersOf(contents)
})()
const torchZip = {
  name: 'torch-zip',
  make(random) {
    if (random.once(3)) return { 'm.pth': damageZip(torchMembers, random) }
    const members = torchMembers.map((member) =>
      Buffer.from(member.name).toString().endsWith('data.pkl')
        ? { ...member, content: damagePickle(member.content, random) }
        : member,
    )
    // The checksum is that of the damaged pickle, or nothing would get past it.
    return { 'm.pth': random.once(8) ? damageZip(members, random) : writeZip(members) }
  },
  read: (files) => readArchive(openTorchSource(bytesSource('m.pth', files['m.pth']))),
}
const oldTorch = fixture('torch_files/old.pth')
const torchOld = {
  name: 'torch-old',
  make: (random) => ({ 'm.pth': (random.once(3) ? damageBytes : damagePickle)(oldTorch, random) }),
  read: (files) => readArchive(openTorchSource(bytesSource('m.pth', files['m.pth']))),
}

const onnxFiles = ['kinds.onnx', 'old_inputs.onnx', 'outside.onnx', 'products.onnx'].map((name) =>
  fixture(`onnx/fixtures/${name}`),
)
const outside = Object.fromEntries(
  ['outside.onnx_data', 'outside.onnx_data_1'].map((name) => [name, fixture(`onnx/fixtures/${name}`)]),
)
const onnx = {
  name: 'onnx',
  make: (random) => ({ 'm.onnx': damageProtobuf(random.pick(onnxFiles), random) }),
  read(files) {
    const external = (path) => {
      need(path.startsWith('/folder/') && !path.includes('..'), `the path ${path} leads out of the folder`)
      const bytes = outside[basename(path)]
      if (bytes) return bytesSource(path, bytes)
      throw new FormatError('no such file')
    }
    const archive = openOnnxSource(bytesSource('/folder/m.onnx', files['m.onnx']), external)
    readArchive(archive)
    forEach(archive.parsed.storages.keys(), (tensor) => void archive.bytesOf(tensor))
  },
}

export const tensorFileReaders = [
  safetensors,
  safetensorsIndex,
  ggufContainer,
  imatrixReader('imatrix.gguf', imatrixGguf(), damageGguf),
  imatrixReader('imatrix.dat', imatrixDat(), damageBytes),
  torchZip,
  torchOld,
  onnx,
]
