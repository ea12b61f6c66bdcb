/** `npm run experiment -- NAME [OPTIONS]`: runs one experiment by its name. */
const experiments: Readonly<Record<string, () => Promise<unknown>>> = {
  gptq: () => import('./gptq.ts'),
  zoo: () => import('./models/train_zoo.ts'),
  bits_per_byte: () => import('./bits_per_byte.ts'),
}

const [name] = process.argv.splice(2, 1)
const start = name !== undefined && Object.hasOwn(experiments, name) ? experiments[name] : undefined
if (start) {
  try {
    await start()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
    process.exitCode = 1
  }
} else {
  process.stderr.write(
    `usage: npm run experiment -- NAME [OPTIONS]; NAME is one of ${Object.keys(experiments).join(', ')}\n`,
  )
  process.exitCode = 2
}
