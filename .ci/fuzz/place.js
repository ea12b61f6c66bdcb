/** A folder in memory where cases lie as files; only what differs from the case before is written. */
import { mkdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export class Place {
  #root
  #written = new Map()

  constructor(root) {
    this.outer = join(root, 'files')
    this.#root = join(this.outer, 'case')
    mkdirSync(this.#root, { recursive: true })
  }

  /** The folder with these files and no others. */
  folder(files) {
    for (const name of this.#written.keys())
      if (!(name in files)) {
        unlinkSync(join(this.#root, name))
        this.#written.delete(name)
      }
    for (const [name, bytes] of Object.entries(files)) {
      if (this.#written.get(name) === bytes) continue
      mkdirSync(dirname(join(this.#root, name)), { recursive: true })
      writeFileSync(join(this.#root, name), bytes)
      this.#written.set(name, bytes)
    }
    return this.#root
  }

  /** A folder without anything in it. */
  fresh(name) {
    const path = join(this.outer, name)
    rmSync(path, { recursive: true, force: true })
    mkdirSync(path)
    return path
  }
}
