"""Questions for a model: a prompt, and the scene that a right answer shows."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.tiny.evaluate import colours
from models.tiny.scenes import captions, sampling
from models.tiny.scenes.captions import PLACE_WORDS, RELATION_WORDS, SHAPE_WORDS, SIZE_WORDS
from models.tiny.scenes.plan import (
    COLOURS,
    Background,
    Backing,
    Place,
    Product,
    Relation,
    Scene,
    Shape,
    Size,
    Thing,
)

SINGLE, PAIR, TRIO, COUNT = "single", "pair", "trio", "count"
GRADIENT, TWO_TONE, PHOTO = "gradient", "two-tone", "photo"
_SHARES = {SINGLE: 34, PAIR: 25, TRIO: 10, COUNT: 10, GRADIENT: 9, TWO_TONE: 7, PHOTO: 5}
"""Of a hundred questions."""
_OTHER_WORDING = 0.25
"""How many are said in a way that no caption is."""
_APART = 20.0
"""How far a thing's colour is from every colour of a gradient, in Delta E."""


@dataclass(frozen=True, slots=True)
class Question:
    """``kind`` is one of this module's words; ``seed`` is the model's. Of the scene, what the
    prompt tells counts: things, colours, background, and size, place and relation where they are
    not ``ANY``, ``ANYWHERE`` and ``LOOSE``."""

    prompt: str
    scene: Scene
    kind: str
    seed: int


def held_out_questions(count: int, seed: int, *, aspect: float = 1.0) -> list[Question]:
    """So many different prompts about combinations that training never shows, each telling all
    that is judged; a quarter of them in sentences that training never shows either. ``aspect``
    is a picture's width by its height."""
    rng = np.random.default_rng(seed)
    said: set[str] = set()
    questions: list[Question] = []
    for kind in _kinds(count, rng):
        while True:
            scene = _scene(kind, rng, aspect)
            prompt, scene = _worded(scene, rng)
            if prompt not in said:
                break
        said.add(prompt)
        questions.append(Question(prompt, scene, kind, int(rng.integers(2**32))))
    return questions


def _kinds(count: int, rng: np.random.Generator) -> list[str]:
    kinds = [kind for kind, share in _SHARES.items() for _ in range(count * share // 100)]
    kinds += list(itertools.islice(itertools.cycle(_SHARES), count - len(kinds)))
    return [kinds[n] for n in rng.permutation(len(kinds))]


def _scene(kind: str, rng: np.random.Generator, aspect: float) -> Scene:
    makers: dict[str, Callable[[np.random.Generator, float], Scene]] = {
        PAIR: sampling.pair,
        TRIO: sampling.trio,
        COUNT: sampling.several,
        PHOTO: sampling.photograph,
    }
    mixed = kind in (GRADIENT, TWO_TONE)
    backing = Backing(kind) if mixed else Backing.TABLE if kind == PHOTO else Backing.PLAIN
    while True:
        make = makers.get(kind, sampling.single)
        if mixed and rng.random() < 0.4:
            make = sampling.pair
        scene = make(rng, aspect)
        loose = make is sampling.pair and scene.relation is Relation.LOOSE
        fits = scene.background.kind is backing and scene.things and not loose
        if fits and sampling.held_out(scene) and _can_be_judged(scene, aspect):
            return scene


def _can_be_judged(scene: Scene, aspect: float) -> bool:
    """Whether its things lie apart, and nothing has a colour that its gradient has as well."""
    wide, high = max(1.0, aspect), max(1.0, 1 / aspect)
    for one, other in itertools.combinations(scene.things, 2):
        across = _half_width(one) + _half_width(other)
        down = 1.1 * (one.radius + other.radius)
        if abs(one.x - other.x) * wide < across and abs(one.y - other.y) * high < down:
            return False
    if scene.background.kind is not Backing.GRADIENT:
        return True
    first, second = (np.array(COLOURS[name], np.float32) for name in scene.background.colours)
    mixtures = colours.lab(
        first + np.linspace(0, 1, 32, dtype=np.float32)[:, None] * (second - first)
    )
    own = [colours.lab(np.array(COLOURS[thing.colour], np.float32)) for thing in scene.things]
    return all(np.linalg.norm(mixtures - each, axis=1).min() > _APART for each in own)


def _half_width(thing: Thing) -> float:
    return thing.radius * (1.36 if thing.shape is Shape.STRIPE else 1.1)


def _worded(scene: Scene, rng: np.random.Generator) -> tuple[str, Scene]:
    """A prompt, and the scene without what the prompt leaves open."""
    if rng.random() < _OTHER_WORDING:
        prompt = _other_wording(scene, rng)
    else:
        while True:
            prompt = captions.caption(scene, rng)
            if tells_all(prompt, scene):
                break
    alike = len({(thing.shape, thing.colour) for thing in scene.things}) == 1
    if len(scene.things) > 1 and alike and not re.search("in a row|side by side", prompt):
        scene = dataclasses.replace(scene, relation=Relation.LOOSE)
    return prompt, scene


def tells_all(prompt: str, scene: Scene) -> bool:
    """Whether a prompt names the background's colours, and each thing's colour and shape."""
    names = [*scene.background.colours, *(thing.colour for thing in scene.things)]
    wanted = [captions.COLOUR_WORDS.get(name, (name,)) for name in names]
    if scene.background.kind is Backing.TABLE and scene.background.colours[1] == "brown":
        wanted[1] = ("wooden", "brown")
    wanted += [SHAPE_WORDS[thing.shape] for thing in scene.things]
    return all(re.search(rf"\b({'|'.join(words)})", prompt) for words in wanted)


def _other_wording(scene: Scene, rng: np.random.Generator) -> str:
    """A prompt of a form that no caption has, in words that captions have."""
    if scene.background.kind is Backing.TABLE:
        return _other_photo(scene, rng)
    ground = _ground(scene.background, rng)
    names = [_name(thing, rng) for thing in scene.things]
    if len(names) == 1:
        size = _pick(SIZE_WORDS[scene.size], rng)
        place = _pick(PLACE_WORDS[scene.place], rng)
        thing = _a(f"{size} {names[0]}".strip())
        forms = [f"on {ground}, {thing} {place}", f"just {thing} {place}, and {ground}"]
        forms += [f"{place}, {thing} on {ground}"] if place else []
        said = _pick(forms, rng)
    elif scene.relation is Relation.IN_A_ROW:
        row = _row(scene, rng)
        said = _pick([f"on {ground}, {row}", f"{ground}, {row}"], rng)
    else:
        said = _other_pair(scene, names, ground, rng)
    return re.sub(r"\s+", " ", said).replace(" ,", ",").strip()


def _row(scene: Scene, rng: np.random.Generator) -> str:
    names = [_name(thing, rng) for thing in scene.things]
    if len({(thing.shape, thing.colour) for thing in scene.things}) > 1:
        return f"from left to right {', '.join(map(_a, names))}"
    plural = f"{names[0]}es" if names[0].endswith("cross") else f"{names[0]}s"
    count = {2: "two", 3: "three"}[len(names)]
    return f"{count} {plural} {_pick(('in a row', 'side by side'), rng)}"


def _other_pair(scene: Scene, names: Sequence[str], ground: str, rng: np.random.Generator) -> str:
    ends = {
        Relation.LEFT_OF: ("on the left", "on the right"),
        Relation.RIGHT_OF: ("on the right", "on the left"),
        Relation.ABOVE: ("at the top", "at the bottom"),
        Relation.BELOW: ("at the bottom", "at the top"),
    }[scene.relation]
    first, second = map(_a, names)
    relation = _pick(RELATION_WORDS[scene.relation], rng)
    forms = (
        f"on {ground}, {first} {relation} {second}",
        f"{ground}, {ends[0]} {first}, {ends[1]} {second}",
        f"just {first} {relation} {second}, and {ground}",
    )
    return _pick(forms, rng)


def _other_photo(scene: Scene, rng: np.random.Generator) -> str:
    wall, table = scene.background.colours
    behind = f"{captions.colour_word(wall, rng)} wall"
    surface = "wooden" if table == "brown" else captions.colour_word(table, rng)
    name = _a(_name(scene.things[0], rng))
    forms = (
        f"{_a(behind)}, {_a(surface)} table, and on the table {name}",
        f"{name} on top of {_a(surface)} table, {behind}, product photo",
    )
    return _pick(forms, rng)


def _ground(background: Background, rng: np.random.Generator) -> str:
    words = [captions.colour_word(name, rng) for name in background.colours]
    if background.kind is Backing.PLAIN:
        return _a(f"{words[0]} {_pick(('background', 'backdrop'), rng)}")
    if background.kind is Backing.GRADIENT:
        return f"a gradient from {words[0]} to {words[1]}"
    sides = ("top", "bottom") if background.upright else ("left", "right")
    return f"a background {words[0]} at the {sides[0]} and {words[1]} at the {sides[1]}"


def _name(thing: Thing, rng: np.random.Generator) -> str:
    return f"{captions.colour_word(thing.colour, rng)} {_pick(SHAPE_WORDS[thing.shape], rng)}"


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _plain(colour: str) -> Background:
    return Background(Backing.PLAIN, (colour,))


CONTACT_SHEET: tuple[Question, ...] = (
    Question(
        "a red circle above a blue square on a yellow background",
        Scene(
            _plain("yellow"),
            (
                Thing(Shape.CIRCLE, "red", 0.5, 0.27, 0.17),
                Thing(Shape.SQUARE, "blue", 0.5, 0.73, 0.17),
            ),
            relation=Relation.ABOVE,
        ),
        PAIR,
        1,
    ),
    Question(
        "three green stars on a black background",
        Scene(
            _plain("black"),
            tuple(Thing(Shape.STAR, "green", x, 0.5, 0.115) for x in (0.19, 0.5, 0.81)),
        ),
        COUNT,
        2,
    ),
    Question(
        "a large pink heart in the middle, white background",
        Scene(
            _plain("white"),
            (Thing(Shape.HEART, "pink", 0.5, 0.5, 0.3),),
            size=Size.LARGE,
            place=Place.MIDDLE,
        ),
        SINGLE,
        3,
    ),
    Question(
        "a photo of a blue mug on a wooden table, grey wall",
        Scene(
            Background(Backing.TABLE, ("grey", "brown"), share=0.58),
            (Thing(Product.MUG, "blue", 0.5, 0.5, 0.25),),
        ),
        PHOTO,
        4,
    ),
    Question(
        "a white star on a gradient from purple to black",
        Scene(
            Background(Backing.GRADIENT, ("purple", "black")),
            (Thing(Shape.STAR, "white", 0.5, 0.5, 0.22),),
        ),
        GRADIENT,
        5,
    ),
    Question(
        "a yellow triangle to the left of a white ring on a blue background",
        Scene(
            _plain("blue"),
            (
                Thing(Shape.TRIANGLE, "yellow", 0.27, 0.5, 0.17),
                Thing(Shape.RING, "white", 0.73, 0.5, 0.17),
            ),
            relation=Relation.LEFT_OF,
        ),
        PAIR,
        6,
    ),
    Question(
        "a red heart, a white circle and a black star from left to right on a turquoise background",
        Scene(
            _plain("turquoise"),
            (
                Thing(Shape.HEART, "red", 0.19, 0.5, 0.115),
                Thing(Shape.CIRCLE, "white", 0.5, 0.5, 0.115),
                Thing(Shape.STAR, "black", 0.81, 0.5, 0.115),
            ),
            relation=Relation.IN_A_ROW,
        ),
        TRIO,
        7,
    ),
    Question(
        "a small orange cross in the top left corner on a grey background",
        Scene(
            _plain("grey"),
            (Thing(Shape.CROSS, "orange", 0.2, 0.2, 0.125),),
            size=Size.SMALL,
            place=Place.TOP_LEFT,
        ),
        SINGLE,
        8,
    ),
    Question(
        "a black square on a background yellow at the top and green at the bottom",
        Scene(
            Background(Backing.TWO_TONE, ("yellow", "green")),
            (Thing(Shape.SQUARE, "black", 0.5, 0.5, 0.2),),
        ),
        TWO_TONE,
        9,
    ),
)
"""What is shown to people: nine squares in which one sees at once whether they are right."""
