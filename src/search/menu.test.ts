import { expect, test } from 'vitest'
import { byContents, menuOf, settleAlike } from './menu.ts'

const menu = (item: number, pairs: readonly (readonly [cost: number, error: number])[]) =>
  menuOf(
    item,
    pairs.map(([cost, error]) => ({ cost, error })),
    pairs.map((_, i) => i),
  )

test('what needs no fewer bytes and has no less error than another choice is left out', () => {
  const { costs, errors, choices } = menu(0, [
    [5, 2],
    [3, 4],
    [4, 4],
    [3, 5],
    [6, 2],
    [7, 1],
    [3, 4],
  ])
  expect({ costs, errors, choices }).toEqual({ costs: [3, 5, 7], errors: [4, 2, 1], choices: [1, 0, 5] })
})
test('choices that are not allowed neither stay nor displace others', () => {
  const all = [
    { cost: 1, error: 0 },
    { cost: 2, error: 3 },
  ]
  expect(menuOf(0, all, [1]).choices).toEqual([1])
})
test('of menus alike the earlier get the later places, and others keep theirs', () => {
  const [small, large] = [
    [
      [1, 2],
      [2, 1],
    ] as const,
    [
      [1, 3],
      [2, 1],
    ] as const,
  ]
  const menus = byContents([menu(0, large), menu(1, small), menu(2, large), menu(3, small), menu(4, large)])
  expect(menus.map(({ item }) => item)).toEqual([1, 3, 0, 2, 4])
  const places = [0, 1, 0, 1, 0]
  settleAlike(menus, places)
  expect(places).toEqual([1, 0, 1, 0, 0])
})
