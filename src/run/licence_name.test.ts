import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { licenceName } from './licence_name.ts'

test('the licence of Pare itself is known by its text', () => {
  expect(licenceName(readFileSync(new URL('../../LICENSE', import.meta.url), 'utf8'))).toBe('apache-2.0')
})
test('known licences are known by their beginning', () => {
  const grant =
    'Permission is hereby granted, free of charge, to any person obtaining a copy of this software and'
  expect(licenceName(`MIT License\n\nCopyright (c) 2024 A\n\n${grant}`)).toBe('mit')
  expect(licenceName(`Copyright 2024 A. All rights reserved.\n\n${grant}`)).toBe('mit')
  expect(licenceName('# Apache License\n  Version 2.0, January 2004')).toBe('apache-2.0')
})
test('what only names a licence is none that is known', () => {
  for (const text of [
    '',
    'Not under the MIT License',
    'LLAMA 3 COMMUNITY LICENSE AGREEMENT',
    'Apache License Version 1.1',
  ])
    expect(licenceName(text)).toBeUndefined()
})
