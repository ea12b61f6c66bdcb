/** Hostile files that were thought of: put together when they are read, since some are large. Each says what must happen. */
import { gzipSync } from 'node:zlib'
import { fixed, joinBytes, varint } from './bytes.js'
import { hostileModels } from './hand_made_models.js'
import { hostileTexts } from './hand_made_texts.js'
import { paxRecord, tarEntriesOf, writeTar } from './tar.js'
import { membersOf, writeZip } from './zip.js'

const encoder = new TextEncoder()
const bytes = (text) => encoder.encode(text)
/** Large content is made when it is asked for. */
const one = (reader, file) => (name, expect, content) => ({
  reader,
  name,
  expect,
  get files() {
    return { [file]: typeof content === 'function' ? content() : content }
  },
})
const repeated = (piece, count) => new Uint8Array(piece.length * count).map((_, i) => piece[i % piece.length])

const zip = one('package-zip', 'm.whl')
const content = bytes('GGUF')
const safe = membersOf({ 'm/a.gguf': content }, true)
const named = (name, rest = {}) => ({ name: bytes(name), content, ...rest })
const unsafe = 'PARE_E_ARCHIVE_UNSAFE'
const zips = [
  zip('an honest archive', 'opens', writeZip(safe)),
  ...['../x', '/etc/x', 'a/../../x', 'C:x', 'a\\..\\x', 'x\0y', '', 'con'].map((name) =>
    zip(`the name ${JSON.stringify(name)}`, unsafe, writeZip([...safe, named(name)])),
  ),
  zip('a link', unsafe, writeZip([named('m/a', { mode: 0o120777 })])),
  zip('one name twice', unsafe, writeZip([...safe, ...safe])),
  zip('names that are one on some systems', unsafe, writeZip([named('m/A'), named('m/a')])),
  zip('a file that is a folder', unsafe, writeZip([named('m'), named('m/a')])),
  zip(
    'two members with the same bytes',
    unsafe,
    writeZip([...safe, named('m/b', { noLocal: true, offset: 0 })]),
  ),
  zip('two headers that disagree', unsafe, writeZip([named('m/a', { localName: bytes('m/b') })])),
  zip(
    'less than it unpacks to',
    unsafe,
    writeZip([{ ...named('m/a'), content: new Uint8Array(1 << 20), packed: true, lies: { bytes: 5 } }]),
  ),
  zip('more than it unpacks to', 'PARE_E_ARCHIVE', writeZip([named('m/a', { lies: { bytes: 5000 } })])),
  zip(
    '2^63 bytes by zip64',
    'PARE_E_ARCHIVE',
    writeZip([named('m/a', { zip64: true, lies: { bytes: 2n ** 63n } })]),
  ),
  zip(
    '32 GiB of zeros',
    'PARE_E_ARCHIVE_LIMIT',
    writeZip([named('m/a', { zip64: true, lies: { bytes: 2n ** 36n } })]),
  ),
  zip('100 MB of zeros in 100 kB', unsafe, () =>
    writeZip([{ ...named('m/a'), content: new Uint8Array(100_000_000), packed: true }]),
  ),
  zip('65,534 members that are not there', 'PARE_E_ARCHIVE_LIMIT', writeZip(safe, { entries: 65_534 })),
  zip('ends of an archive in its comment', 'ends', writeZip(safe, { comment: 'PK\x05\x06'.repeat(16_000) })),
]

const tar = one('package-tar', 'm.tgz')
const packed = (...entries) => new Uint8Array(gzipSync(writeTar(entries)))
const entry = (name, rest = {}) => ({ name: bytes(name), content, ...rest })
const pax = (key, value) => ({ name: bytes('x'), content: bytes(paxRecord(key, value)), type: 'x' })
const tars = [
  tar('an honest archive', 'opens', packed(...tarEntriesOf({ 'package/a.gguf': content }))),
  ...['../x', '/etc/x', 'package/../../x', 'package\\x', 'x'].map((name) =>
    tar(`the name ${name}`, unsafe, packed(entry(name))),
  ),
  ...['1', '2', '3', '4', '6', 'K', 'S'].map((type) =>
    tar(`type ${type}`, unsafe, packed(entry('package/a', { type, link: '/etc/passwd' }))),
  ),
  tar('a path in a pax header', unsafe, packed(pax('path', '../x'), entry('package/a'))),
  tar('a global pax header', unsafe, packed({ ...pax('path', 'a'), type: 'g' }, entry('package/a'))),
  tar('a sparse file', unsafe, packed(pax('GNU.sparse.major', '1'), entry('package/a'))),
  tar('2^63 bytes', 'PARE_E_ARCHIVE', packed(entry('package/a', { stated: 2n ** 63n }))),
  tar('2^53 bytes by pax', 'PARE_E_ARCHIVE', packed(pax('size', '9007199254740993'), entry('package/a'))),
  tar('40 GiB', 'PARE_E_ARCHIVE_LIMIT', packed(entry('package/a', { stated: 40n * 2n ** 30n }))),
  tar('a pax header of 2 GB', unsafe, packed({ ...pax('path', 'a'), stated: 2n ** 31n }, entry('package/a'))),
  tar('100 MB of zeros in 100 kB', unsafe, () =>
    packed(entry('package/a', { content: new Uint8Array(100_000_000) })),
  ),
  tar('no end', 'PARE_E_ARCHIVE', new Uint8Array(gzipSync(writeTar([entry('package/a')], 0)))),
]

const torch = one('torch-old', 'm.pth')
const pickle = (...parts) =>
  joinBytes(
    Uint8Array.of(0x80, 2),
    ...parts.map((part) => (typeof part === 'string' ? new Uint8Array(Buffer.from(part, 'latin1')) : part)),
    bytes('.'),
  )
const magic = joinBytes(
  pickle(Uint8Array.of(0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19)),
  pickle('M\xe9\x03'),
  pickle('}(X\x0d\x00\x00\x00little_endian\x88u'),
)
const old = (...parts) => joinBytes(magic, pickle(...parts), pickle(']'))
const torches = [
  torch('os.system', 'PARE_E_TORCH_GLOBAL', old('cos\nsystem\n(X\x04\x00\x00\x00true tR')),
  torch('eval', 'PARE_E_TORCH_GLOBAL', old('cbuiltins\neval\n(X\x01\x00\x00\x001tR')),
  torch('a name of the prototype', 'PARE_E_TORCH_GLOBAL', old('c__proto__\ntoString\n)R')),
  torch('a dictionary in itself', 'PARE_E_TORCH_NESTING', old('}q\x01(K\x01h\x01u')),
  torch('a list in itself', 'PARE_E_TORCH_NESTING', old(']q\x01(h\x01e')),
  torch('tuples 200,000 deep', 'PARE_E_TORCH_NESTING', old(`)${'\x85'.repeat(200_000)}`)),
  torch('600,000 lists', 'PARE_E_TORCH_PICKLE', old(']'.repeat(600_000))),
  torch('600,000 marks', 'PARE_E_TORCH_PICKLE', old('('.repeat(600_000))),
  torch('a text of 4 GB', 'PARE_E_TORCH_PICKLE', old('X\xff\xff\xff\xff')),
  torch('BUILD on a list', 'PARE_E_TORCH_PICKLE', old(']}b')),
  torch(
    'lists that double 60 times',
    'PARE_E_TORCH_NESTING',
    old(
      `]q\x01${Array.from({ length: 60 }, (_, i) => `](h${String.fromCharCode(i + 1)}h${String.fromCharCode(i + 1)}eq${String.fromCharCode(i + 2)}`).join('')}${'\x85'.repeat(0)}`
        .replace(/^/, '(')
        .concat('t'),
    ),
  ),
]

const onnx = one('onnx', 'm.onnx')
const field = (number, ...parts) => {
  const inner = joinBytes(...parts)
  return joinBytes(varint((number << 3) | 2), varint(inner.length), inner)
}
const whole = (number, value) => joinBytes(varint(number << 3), varint(value))
const graphOf = (...parts) => joinBytes(whole(1, 10), field(7, ...parts))
const initialiser = (...parts) => graphOf(field(5, ...parts))
const external = (location, offset = '0') =>
  initialiser(
    ...[whole(1, 1), whole(2, 1), field(8, bytes('w')), whole(14, 1)],
    ...[field(13, field(1, bytes('location')), field(2, bytes(location)))],
    ...[field(13, field(1, bytes('offset')), field(2, bytes(offset)))],
  )
function graphsIn(depth) {
  let graph = new Uint8Array(0)
  for (let i = 0; i < depth; i++)
    graph = field(1, field(4, bytes('If')), field(5, field(1, bytes('then')), field(6, graph), whole(20, 5)))
  return graphOf(graph)
}
const onnxes = [
  ...['../w', '/etc/passwd', 'a/../../w', 'C:w', 'a\\w', './w', ''].map((location) =>
    onnx(`data in ${location || 'no file'}`, 'PARE_E_ONNX_LOCATION', external(location)),
  ),
  onnx('an offset of 2^63', 'PARE_E_ONNX', external('outside.onnx_data', '9223372036854775808')),
  onnx('a negative offset', 'PARE_E_ONNX', external('outside.onnx_data', '-1')),
  onnx('graphs 1,000 deep', 'PARE_E_ONNX', graphsIn(1000)),
  onnx('2^63 rows', 'PARE_E_ONNX', initialiser(whole(1, 2n ** 63n), whole(2, 1), field(8, bytes('w')))),
  onnx(
    '2^40 rows of no columns',
    'opens',
    initialiser(whole(1, 2n ** 40n), whole(1, 0), whole(2, 1), field(8, bytes('w'))),
  ),
  onnx('a length of 2^64 - 1', 'PARE_E_ONNX', joinBytes(varint((7 << 3) | 2), varint(2n ** 64n - 1n))),
  onnx('a million sizes in one field', 'PARE_E_ONNX', () =>
    initialiser(field(1, new Uint8Array(1_000_000).fill(1)), whole(2, 1)),
  ),
  onnx('300,000 empty nodes', 'PARE_E_ONNX', () => graphOf(repeated(Uint8Array.of(10, 0), 300_000))),
  onnx('groups without end', 'PARE_E_ONNX', () => graphOf(repeated(Uint8Array.of(11), 100_000))),
]

const dat = one('imatrix.dat', 'imatrix.dat')
const imatrices = [
  dat('2^31 - 1 entries', 'PARE_E_IMATRIX', joinBytes(fixed(2 ** 31 - 1, 4), new Uint8Array(100))),
  dat(
    'a name of -1 bytes',
    'PARE_E_IMATRIX',
    joinBytes(fixed(1, 4), fixed(2 ** 32 - 1, 4), new Uint8Array(100)),
  ),
]

export const handMade = [
  ...zips,
  ...tars,
  ...torches,
  ...onnxes,
  ...imatrices,
  ...hostileModels,
  ...hostileTexts,
]
