import { Slots } from './slots.js'

it('lets so many in at once, and the others in the order in which they came', async () => {
  const slots = new Slots(2, 1_000)
  const [first, second] = [await slots.take(), await slots.take()]
  const came: string[] = []
  const third = slots.take().then((back) => (came.push('third'), back))
  const fourth = slots.take().then((back) => (came.push('fourth'), back))
  await Promise.resolve()
  expect(came).toEqual([])
  second()
  // Giving back twice frees one place.
  second()
  const back = await third
  expect(came).toEqual(['third'])
  first()
  await fourth
  expect(came).toEqual(['third', 'fourth'])
  back()
  expect(typeof (await slots.take())).toBe('function')
})

it('refuses who waited too long, and keeps no place for them', async () => {
  const slots = new Slots(1, 1)
  const back = await slots.take()
  await expect(slots.take()).rejects.toMatchObject({ code: 'not_ready' })
  back()
  expect(typeof (await slots.take())).toBe('function')
})
