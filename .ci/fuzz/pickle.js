/** Damage to pickles: operations put in, taken out and repeated; names that would run something; circles and counts without end. */
import { damageBytes, fixed, joinBytes } from './bytes.js'
import { names, numbers } from './hostile_values.js'

const ascii = (text) => new Uint8Array(Buffer.from(text, 'latin1'))
const globals = [
  'os\nsystem\n',
  'posix\nsystem\n',
  'builtins\neval\n',
  'builtins\ngetattr\n',
  '__builtin__\nexec\n',
  'subprocess\nPopen\n',
  'torch\nFloatStorage\n',
  'torch\nLongStorage\n',
  'torch\nQInt8Storage\n',
  'torch.storage\n_load_from_bytes\n',
  'torch._utils\n_rebuild_tensor_v2\n',
  'torch._utils\n_rebuild_parameter\n',
  'collections\nOrderedDict\n',
  'collections\ndefaultdict\n',
  '__proto__\nx\n',
  'toString\n\n',
  '\n\n',
  `${'x'.repeat(300)}\ny\n`,
]

/** Operations with what follows them. */
const operations = (random) =>
  random.pick([
    () => Uint8Array.of(random.below(256)),
    // ( ) ] } N 0 1 2 . a b d e l o s t u Q R and the tuples, booleans, frames of later protocols.
    () =>
      Uint8Array.of(
        random.pick([
          ...ascii('()]}N012.abdelostuQRq'),
          0x81,
          0x85,
          0x86,
          0x87,
          0x88,
          0x89,
          0x8f,
          0x90,
          0x91,
          0x93,
          0x94,
        ]),
      ),
    () => joinBytes(ascii('c'), ascii(random.pick(globals))),
    () => joinBytes(ascii('i'), ascii(random.pick(globals))),
    () => Uint8Array.of(random.pick([...ascii('qhKUC'), 0x82, 0x8c]), random.below(256)),
    () =>
      joinBytes(ascii(random.pick(['r', 'j', 'J', 'X', 'T', 'B', '\x84'])), fixed(random.pick(numbers), 4)),
    () => joinBytes(Uint8Array.of(random.pick([0x8d, 0x8e, 0x95, 0x96])), fixed(random.pick(numbers), 8)),
    () => joinBytes(Uint8Array.of(0x8a, random.pick([0, 1, 8, 9, 255])), fixed(random.pick(numbers), 8)),
    () => joinBytes(Uint8Array.of(0x8b), fixed(random.pick(numbers), 4)),
    () => joinBytes(ascii('M'), fixed(random.pick(numbers), 2)),
    () => joinBytes(ascii('G'), fixed(random.pick(numbers), 8, true)),
    () =>
      ascii(
        random.pick([
          'I01\n',
          'I9223372036854775808\n',
          'L1L\n',
          'F1e999\n',
          'Sx\n',
          'Vx\n',
          'g0\n',
          'p0\n',
          'Pid\n',
        ]),
      ),
    () => joinBytes(ascii('X'), fixed(5, 4), ascii('hello')),
    // A name as a text.
    () => {
      const name = new TextEncoder().encode(random.pick(names))
      return joinBytes(ascii('X'), fixed(name.length, 4), name)
    },
    // A list in itself; a dictionary in itself; a tuple of tuples; a call of what is no name.
    () => ascii(']q\x63h\x63a'),
    () => ascii('}q\x63(K\x01h\x63u'),
    () => ascii(')\x85\x85\x85\x85\x85\x85\x85'),
    () => ascii(')R'),
    () => ascii('}b'),
    () => ascii('2'.repeat(random.pick([3, 100]))),
    () =>
      ascii(
        random
          .pick([']', '(', '}', ')\x85', ']q\x01h\x01a', 'N', '2'])
          .repeat(random.pick([10, 1000, 20_000])),
      ),
  ])()

export function damagePickle(bytes, random) {
  let result = bytes
  for (let i = random.pick([0, 0, 1, 3]); i >= 0; i--) {
    const at = random.below(result.length + 1)
    switch (random.below(5)) {
      case 0:
        result = damageBytes(result, random)
        break
      case 1:
        // In the middle of an operation as a rule; what is read from there on is something else.
        result = joinBytes(result.subarray(0, at), operations(random), result.subarray(at))
        break
      case 2:
        result = joinBytes(result.subarray(0, at), operations(random), result.subarray(at + random.below(6)))
        break
      case 3: {
        // Shapes, strides, offsets and counts are BININT, BININT1 and BININT2.
        const places = [...result.keys()].filter((place) =>
          'JKM'.includes(String.fromCharCode(result[place])),
        )
        if (places.length === 0) break
        const place = random.pick(places)
        const width = { J: 4, K: 1, M: 2 }[String.fromCharCode(result[place])]
        const number = random.once(3)
          ? joinBytes(Uint8Array.of(0x8a, 8), fixed(random.pick(numbers), 8))
          : joinBytes(result.subarray(place, place + 1), fixed(random.pick(numbers), width))
        result = joinBytes(result.subarray(0, place), number, result.subarray(place + 1 + width))
        break
      }
      default: {
        const lines = [...result.keys()].filter((place) => result[place] === 0x63)
        const from = lines.length > 0 ? random.pick(lines) : at
        const second = result.indexOf(10, result.indexOf(10, from) + 1)
        result = joinBytes(
          result.subarray(0, from),
          ascii('c'),
          ascii(random.pick(globals)),
          result.subarray(Math.max(from, second) + 1),
        )
      }
    }
  }
  return result
}
